import numpy as np

from datasets import stamps

RING = ["#######", "#######", "##   ##", "##   ##", "##   ##", "#######", "#######"]
TRIANGLE = [
    "     ##     ",
    "    ####    ",
    "   ######   ",
    "  ###  ###  ",
    " ###    ### ",
    "############",
    "############",
]


def drawn(pixels):
    return ["".join("#" if pixel else " " for pixel in row) for row in pixels]


def test_shapes_look_as_specified():
    assert drawn(stamps.square_ring()) == RING
    assert drawn(stamps.triangle()) == TRIANGLE
    kinds = stamps.shapes()
    assert kinds.sizes.tolist() == [[7, 7], [7, 12], [7, 12]]
    assert drawn(kinds.pixels[0]) == [row + " " * 5 for row in RING]
    assert drawn(kinds.pixels[2]) == TRIANGLE[::-1]


def test_corners_are_mirror_images_that_open_inwards():
    corners, square = stamps.corners().pixels, stamps.corner_square().pixels[0]
    assert drawn(corners[0]) == ["#####", "#####", "##   ", "##   ", "##   "]
    assert drawn(corners[3]) == ["   ##", "   ##", "   ##", "#####", "#####"]
    assert square.sum() == 4 * corners[0].sum()
    np.testing.assert_array_equal(square, square.T)
    np.testing.assert_array_equal(square, square[::-1])
    assert square[0].tolist() == [1] * 5 + [0] * 10 + [1] * 5


def test_digits_lose_every_empty_row_and_column_and_keep_faint_ones():
    digit = np.zeros((28, 28), dtype=np.uint8)
    digit[3, 4:9] = 255
    digit[5, 6] = 1  # faint: keeps its row, is not ink; row 4 is empty and goes
    digit[6, 6] = 128
    result = stamps.cropped_digits(digit[None])
    assert drawn(result.pixels[0]) == ["#####", "     ", "  #  "]
    assert result.sizes.tolist() == [[3, 5]]
