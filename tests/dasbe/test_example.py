"""``python -m dasbe.example``: pictures, indices, and what may be wrong with them."""

import numpy as np
import pytest
import torch
from PIL import Image

from common.errors import UserError
from dasbe import train
from dasbe.example import main, network_for_size, read_picture


def picture(path, size=(28, 28), paper=255, ink=0):
    values = np.full(size, paper, np.uint8)
    values[5:12, 4:11] = ink
    values[15:17, 10:20] = ink
    Image.fromarray(values).save(path)
    return path


def test_ink_is_what_differs_from_the_corner(tmp_path) -> None:
    dark = read_picture(picture(tmp_path / "dark.png"))
    light = read_picture(picture(tmp_path / "light.png", paper=10, ink=200))
    assert dark.shape == (1, 28, 28)
    assert torch.equal(dark, light)
    assert dark.sum() == 7 * 7 + 2 * 10


def test_a_picture_is_scaled(tmp_path) -> None:
    assert read_picture(picture(tmp_path / "big.png", (56, 56)), (28, 28)).shape == (1, 28, 28)


def test_networks_by_size() -> None:
    assert network_for_size(20, 20) == "bars"
    assert network_for_size(28, 28) == "shapes"
    assert network_for_size(48, 48) == "multi_mnist"
    with pytest.raises(UserError, match="no network is trained for pictures of 30 x 31"):
        network_for_size(30, 31)


def run(tmp_path, capsys, *words):
    status = main([*words, "--out", str(tmp_path / "out"), "--iterations", "12"])
    return status, capsys.readouterr()


def test_a_dataset_image_end_to_end(tmp_path, capsys) -> None:
    status, output = run(tmp_path, capsys, "3", "--dataset", "shapes")
    assert status == 0
    assert "AMI: " in output.out and "synchrony score" in output.out
    with Image.open(tmp_path / "out" / "figure.png") as image:
        assert image.size[0] > 1000
    assert (tmp_path / "out" / "figure.pdf").stat().st_size > 1000


def test_a_picture_of_ones_own_end_to_end(tmp_path, capsys) -> None:
    file = str(picture(tmp_path / "mine.png"))
    status, output = run(tmp_path, capsys, file, "--n_groups", "3")
    assert status == 0
    assert "AMI" not in output.out  # nobody knows the truth
    assert (tmp_path / "out" / "figure.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing.png"], "there is no picture missing.png"),
        (["-1"], "must be 0 or more"),
        (["999999"], "bars has 60000 images"),
        (["3", "--dataset", "tables"], "unknown dataset 'tables'"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, capsys, words, message) -> None:
    status, output = run(
        tmp_path, capsys, *words, *(["--dataset", "bars"] if words == ["999999"] else [])
    )
    assert status == 1
    assert message in output.err
    assert output.err.count("\n") <= 2 and "Traceback" not in output.err
    assert not (tmp_path / "out").exists()


def test_pictures_that_cannot_be_used(tmp_path, capsys) -> None:
    (tmp_path / "text.png").write_text("no picture")
    whole = picture(tmp_path / "whole.png", (200, 200)).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(np.full((28, 28), 7, np.uint8)).save(tmp_path / "empty.png")
    picture(tmp_path / "odd.png", (30, 31))
    for name, message in {
        "text.png": "not a picture",
        "cut.png": "not a picture that can be read, or it is damaged",
        "empty.png": "is empty",
        "odd.png": "no network is trained for pictures of 30 x 31",
    }.items():
        status, output = run(tmp_path, capsys, str(tmp_path / name))
        assert status == 1
        assert message in output.err


def test_the_originals_positional_forms(tmp_path, capsys) -> None:
    """NET DATASET, and what to train."""
    out = ["--out", str(tmp_path / "out"), "--iterations", "2"]
    assert main(["shapes_interference", "shapes", "--index", "3", *out]) == 0
    assert "AMI: " in capsys.readouterr().out
    assert main(["a", "b", "c"]) == 1
    assert "a b c: give an image, or a network and a data set" in capsys.readouterr().err
    assert train.main(["corner", "--dataset", "bars"]) == 1
    assert "corner and --dataset bars are two" in capsys.readouterr().err
