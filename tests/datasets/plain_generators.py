"""The image generators as plainly as they can be said: one image, one ``RandomState``."""

import numpy as np

from datasets import stamps

DIRECTIONS = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, -1), (-1, 1)]


def cut(set_of_stamps, kind):
    height, width = set_of_stamps.sizes[kind]
    return set_of_stamps.pixels[kind, :height, :width].astype(bool)


def labels_of(layers):
    """Boolean layers (K, H, W) -> (image, groups): overlap is on and labelled 0."""
    layers = np.asarray(layers).reshape(-1, *np.shape(layers)[-2:])
    covered = layers.sum(axis=0)
    numbers = np.arange(1, len(layers) + 1)[:, None, None]
    return covered > 0, np.where(covered == 1, (layers * numbers).sum(axis=0), 0)


def layer(stamp, x, y, height, width):
    canvas = np.zeros((height, width), dtype=bool)
    canvas[y : y + stamp.shape[0], x : x + stamp.shape[1]] = stamp
    return canvas


def draw_layer(rng, stamp, height, width):
    x = rng.randint(0, width - stamp.shape[1] + 1)
    y = rng.randint(0, height - stamp.shape[0] + 1)
    return layer(stamp, x, y, height, width)


def bars(rng, vertical, horizontal):
    columns = rng.choice(np.arange(20), replace=False, size=vertical)
    rows = rng.choice(np.arange(20), replace=False, size=horizontal)
    layers = np.zeros((vertical + horizontal, 20, 20), dtype=bool)
    for i, column in enumerate(columns):
        layers[i, :, column] = True
    for i, row in enumerate(rows):
        layers[vertical + i, row] = True
    return labels_of(layers)


def corners(rng, with_square, single_corners):
    layers = []
    if with_square:
        layers.append(draw_layer(rng, cut(stamps.corner_square(), 0), 28, 28))
    for _ in range(single_corners):
        x, y = rng.randint(0, 24), rng.randint(0, 24)
        layers.append(layer(cut(stamps.corners(), rng.randint(0, 4)), x, y, 28, 28))
    return labels_of(layers)


def shape(rng, kind=None):
    kind = rng.randint(0, 3) if kind is None else kind
    return draw_layer(rng, cut(stamps.shapes(), kind), 28, 28)


def shapes(rng, objects, kind=None):
    return labels_of([shape(rng, kind) for _ in range(objects)])


def digit_and_shape(rng, digit):
    return labels_of([digit > 128, shape(rng)])


def crop(digit):
    return digit[digit.max(axis=1) > 0][:, digit.max(axis=0) > 0] >= 128


def several_digits(rng, digits):
    chosen = [crop(digits[i]) for i in rng.randint(0, len(digits), 3)]
    while True:
        layers = [draw_layer(rng, digit, 48, 48) for digit in chosen]
        *others, last = layers
        if (last & (others[0] | others[1])).sum() / last.sum() < 0.2:
            return labels_of(layers)


def single_digit(rng, digit):
    return labels_of([draw_layer(rng, crop(digit), 48, 48)])


class Thing:
    def __init__(self, kind, direction):
        self.stamp = cut(stamps.shapes(), kind)
        self.dx, self.dy = DIRECTIONS[direction]

    def put(self, rng):
        self.x = rng.randint(0, 28 - self.stamp.shape[1] + 1)
        self.y = rng.randint(0, 28 - self.stamp.shape[0] + 1)

    def layer(self):
        return layer(self.stamp, self.x, self.y, 28, 28)

    def move(self):
        limit_y, limit_x = 28 - self.stamp.shape[0], 28 - self.stamp.shape[1]
        self.x += self.dx
        if self.x > limit_x:
            self.x, self.dx = limit_x - 1, -self.dx
        elif self.x < 0:
            self.x, self.dx = 1, -self.dx
        self.y += self.dy
        if self.y > limit_y:
            self.y, self.dy = limit_y - 1, -self.dy
        elif self.y < 0:
            self.y, self.dy = 1, -self.dy


def new_things(rng, number, kind):
    kinds = [rng.randint(0, 3) if kind is None else kind for _ in range(number)]
    things = [Thing(kind, rng.randint(0, 8)) for kind in kinds]
    for thing in things:
        thing.put(rng)
    return things


def moving(rng, frames, objects, kind=None, every=0):
    things = [] if every else new_things(rng, objects, kind)
    pictures = []
    for t in range(frames):
        if every and t % every == 0 and len(things) < objects:
            things += new_things(rng, 1, kind)
        pictures.append(labels_of([thing.layer() for thing in things]))
        for thing in things:
            thing.move()
    return tuple(np.stack(each) for each in zip(*pictures, strict=True))
