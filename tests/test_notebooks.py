"""Every notebook runs from the shipped networks alone, and is committed as it ran.

The run is that of someone who has just cloned the repository, offline: no results, no data sets,
no MNIST. Results and data sets go to a temporary folder.
"""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from common.paths import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SECONDS = 300  # for a single cell, far above what any takes
ABSOLUTE_PATH = re.compile(
    r"(?<![\w.:/~<])/(?:home|root|tmp|work|usr|var|opt|mnt|private|Users)\b|\b[A-Z]:\\"
)
OTHER_FOLDERS = """
from pathlib import Path

import common.paths

common.paths.RESULTS = Path("results").absolute()
common.paths.DATA_FILES = Path("data").absolute()
"""
NO_MODULE_KNOWS_OTHERS = """
import sys

for module in list(sys.modules.values()):
    for name in ("RESULTS", "DATA_FILES"):
        folder = vars(module).get(name)
        assert folder is None or folder.is_relative_to(Path.cwd()), f"{module}: {folder}"
"""


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request) -> NotebookNode:
    return nbformat.read(request.param, as_version=4)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell: NotebookNode) -> set[str]:
    """What a cell put out: "stdout", "image/png", ...; warnings and logs left aside."""
    found = set()
    for output in cell.outputs:
        found |= set(output.get("data", ())) or {output.get("name", output.output_type)}
    return found - {"stderr"}


def texts(notebook: NotebookNode) -> list[str]:
    """All that a reader sees as text."""
    found = [cell.source for cell in notebook.cells]
    for cell in code_cells(notebook):
        for output in cell.outputs:
            found += [output.get("text", ""), str(output.get("data", {}).get("text/plain", ""))]
    return found


# ---- as committed ---------------------------------------------------------------------------


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


def test_it_is_valid_and_for_any_python3_kernel(notebook) -> None:
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.cells[0].source.startswith("# ")


def test_it_was_run_once_from_top_to_bottom(notebook) -> None:
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    for cell in code_cells(notebook):
        for output in cell.outputs:
            assert output.get("execution_count", cell.execution_count) == cell.execution_count


def test_it_shows_pictures_and_neither_errors_nor_warnings(notebook) -> None:
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output.text for output in outputs if output.get("name") == "stderr"]


def test_it_names_no_place_on_a_machine(notebook) -> None:
    for text in texts(notebook):
        assert not ABSOLUTE_PATH.search(text), text


@pytest.mark.parametrize(
    ("text", "is_absolute"),
    [
        ("written to /home/somebody/results", True),
        ("'/tmp/x.png'", True),
        (r"C:\Users\x", True),
        ("results/dasbe_figure2 and/or docs/home", False),
        ("https://example.org/home/x", False),
        ("scripts/../tmp/x", False),
    ],
)
def test_places_on_a_machine_are_recognised(text, is_absolute) -> None:
    assert bool(ABSOLUTE_PATH.search(text)) == is_absolute


# ---- links and index ------------------------------------------------------------------------


def links(notebook: NotebookNode) -> list[str]:
    """Where the texts of a notebook link to, outside formulas and code."""
    found = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            found += re.findall(r"\]\(([^)\s]+)\)", cell.source)
    return found


def test_links_to_files_resolve(notebook) -> None:
    files = [link for link in links(notebook) if not link.startswith(("http", "attachment:", "#"))]
    missing = [link for link in files if not (ROOT / "notebooks" / link).resolve().exists()]
    assert not missing


def test_commands_in_texts_are_there(notebook) -> None:
    """Scripts and modules that a reader is told to run."""
    told = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for script in re.findall(r"scripts/[\w/]+\.sh", told):
        assert (ROOT / script).exists(), script
    for module in re.findall(r"python -m ([\w.]+)", told):
        assert find_spec(module), module


def test_the_index_lists_every_notebook() -> None:
    index = nbformat.read(ROOT / "notebooks" / "index.ipynb", as_version=4)
    listed = set(links(index))
    assert {path.name for path in NOTEBOOKS if path.stem != "index"} <= listed
    text = "\n".join(cell.source for cell in index.cells)
    assert "./scripts/reproduce.sh" in text and "./scripts/test.sh" in text


# ---- run again ------------------------------------------------------------------------------


@pytest.fixture
def offline(tmp_path: Path, monkeypatch) -> None:
    """The environment of a kernel without data, network and the user's own Jupyter settings."""
    monkeypatch.delenv("SNN_DATA", raising=False)
    # Other tests keep the other cores busy, where two threads are slower than one.
    monkeypatch.setenv("NUMBA_NUM_THREADS", "1")
    for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")  # nobody answers there
    for place in ("IPYTHONDIR", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):
        folder = tmp_path / "jupyter" / place.lower()
        folder.mkdir(parents=True)
        monkeypatch.setenv(place, str(folder))
    search = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(search))


def test_it_runs_from_a_fresh_clone(notebook, tmp_path: Path, offline) -> None:
    expected = [kinds(cell) for cell in code_cells(notebook)]
    uses_results = "RESULTS" in "".join(texts(notebook))
    notebook.cells.insert(0, nbformat.v4.new_code_cell(OTHER_FOLDERS))
    notebook.cells.append(nbformat.v4.new_code_cell(NO_MODULE_KNOWS_OTHERS))
    place = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", resources=place).execute()
    assert [kinds(cell) for cell in code_cells(notebook)[1:-1]] == expected
    assert (tmp_path / "results").exists() == uses_results
