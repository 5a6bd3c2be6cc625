"""Records for the tests of the report: of a real table, of folders nobody lists, a broken one."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from PIL import Image

from common.records import Measurement, Record

NASTY = "<script>alert('x')</script> & co"
MEASUREMENTS = [
    Measurement("bars", 96.42, "AMI x 100", 97.1, "Table 1", interval95=0.31, n=200, seconds=12.2),
    Measurement("rate | score", 0.12345, data="real MNIST", interval95=0.0042, n=5, seconds=600),
    Measurement("corners", 80.0, n=1, seconds=9000),
    Measurement("silent", None),
]
VOID = {"meta", "link", "img", "br", "input"}


def record(name: str = "table1", profile: str = "quick", **fields) -> Record:
    """A record of DASBE."""
    values = {"command": "python -m dasbe.figures.table1", "created": "2024-01-01T00:00:00+00:00"}
    return Record(name, "DASBE", profile, **(values | {"data": "generated"} | fields))


def write_picture(path: Path) -> None:
    """A small picture, or a film of two pictures."""
    frames = [Image.fromarray(np.full((4, 6, 3), shade, np.uint8)) for shade in (0, 255)]
    more = {"save_all": True, "append_images": frames[1:]} if path.suffix == ".gif" else {}
    frames[0].save(path, **more)


def write_results(folder: Path) -> Path:
    """Two good records, one in a folder with an awkward name, and a broken one between them."""
    record(measurements=MEASUREMENTS).save(folder / "dasbe" / "table1")
    awkward = folder / "dasbe" / "figure #2"
    record(NASTY, measurements=[Measurement(NASTY, 1.0, note=NASTY)], settings={"a": NASTY}).save(
        awkward
    )
    write_picture(awkward / "figure.png")
    write_picture(awkward / "film.gif")
    (folder / "dasbe" / "figure3").mkdir()
    (folder / "dasbe" / "figure3" / "record.json").write_text('{"format": 1, "nam')
    table = [
        Measurement("bars, DASBE", 97.0, "AMI x 100", interval95=0.2, n=200),
        Measurement("bars, pure SNN", 9.2, "AMI x 100", interval95=0.2, n=200, seconds=7.0),
        Measurement("corners, DASBE", 60.0, "AMI x 100", interval95=0.2, n=200, seconds=99.0),
    ]
    record("Table 1", measurements=table, device="a machine").save(folder / "dasbe_table1")
    return folder


class Page(HTMLParser):
    """Tags, attributes, and the texts of cells of a page; names what does not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.cells, self.open, self.wrong = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data) -> None:
        if "td" in self.open:
            self.cells.append(data.strip())

    def all(self, name: str) -> list[str]:
        """The values of an attribute."""
        return [attributes[name] for _, attributes in self.attributes if name in attributes]
