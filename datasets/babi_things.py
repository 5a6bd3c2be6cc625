"""bAbI stories of rooms, animals, shapes and boxes: tasks 4 and 15 to 19.

The rules are those of the official stories, read off their files.
"""

from __future__ import annotations

from datasets.babi_draws import Draw, Line, Story, pick, pick_other, sample, sentence
from datasets.babi_people import ROOMS

OPPOSITE = {"north": "south", "south": "north", "east": "west", "west": "east"}
PLURAL = {"cat": "cats", "mouse": "mice", "sheep": "sheep", "wolf": "wolves"}
NAMED = ("Emily", "Gertrude", "Jessica", "Winona")
COLOURED = ("Bernhard", "Brian", "Greg", "Julius", "Lily")
ANIMALS = ("frog", "lion", "rhino", "swan")
COLOURS = ("gray", "green", "white", "yellow")
SHAPES = (
    "blue square",
    "pink rectangle",
    "red sphere",
    "red square",
    "triangle",
    "yellow square",
)
SIDES = {"above": (0, 1), "below": (0, -1), "to the left of": (-1, 0), "to the right of": (1, 0)}
BOXES = ("box", "chest", "container", "suitcase")
SMALL = ("box of chocolates", "chocolate")
"""Smaller than every box, the second smaller than the first."""

_DIRECTIONS = tuple(OPPOSITE)
_Links = dict[str, dict[str, str]]  # of a room, by direction: the room on that side


# ---- rooms: tasks 4 and 19 ------------------------------------------------------------------


def _link(links: _Links, room: str, direction: str, other: str) -> None:
    links.setdefault(room, {})[direction] = other
    links.setdefault(other, {})[OPPOSITE[direction]] = room


def _describe(draw: Draw, links: _Links) -> tuple[list[Line], dict[frozenset[str], int]]:
    """All links, each told once, and their lines: a room is drawn, and one of its neighbours."""
    rooms, lines, told = sorted(links), [], {}
    while len(told) < len(rooms) - 1:
        room = pick(draw, rooms)
        direction, other = pick(draw, tuple(links[room].items()))
        if frozenset((room, other)) not in told:
            lines.append(sentence(f"The {room} is {OPPOSITE[direction]} of the {other}."))
            told[frozenset((room, other))] = len(lines)
    return lines, told


def _rooms_in_a_row(draw: Draw) -> list[Line]:
    """Task 4: three rooms in a row; the answer is what one of the two sentences begins with."""
    left, middle, right = sample(draw, ROOMS, 3)
    direction = pick(draw, _DIRECTIONS)
    links: _Links = {}
    _link(links, middle, direction, right)
    _link(links, middle, OPPOSITE[direction], left)
    lines, _ = _describe(draw, links)
    line = int(2 * draw())
    _, answer, _, direction, _, _, room = lines[line][0].rstrip(".").split()
    question = f"What is {direction} of the {room}?"
    if draw() < 0.5:
        question = f"What is the {room} {OPPOSITE[direction]} of?"
    return [*lines, (question, answer, (line + 1,))]


def _paths(draw: Draw) -> list[Line]:
    """Task 19: two steps from a room to another; three more rooms lie beside these three."""
    start, middle, end, *others = sample(draw, ROOMS, len(ROOMS))
    links: _Links = {}
    first = pick(draw, _DIRECTIONS)
    _link(links, start, first, middle)
    second = pick_other(draw, _DIRECTIONS, OPPOSITE[first])
    _link(links, middle, second, end)
    for other in others:
        while True:
            room, direction = pick(draw, (start, middle, end)), pick(draw, _DIRECTIONS)
            if direction not in links[room]:
                break
        _link(links, room, direction, other)
    lines, told = _describe(draw, links)
    support = (told[frozenset((start, middle))], told[frozenset((middle, end))])
    question = f"How do you go from the {start} to the {end}?"
    return [*lines, (question, f"{first[0]},{second[0]}", support)]


# ---- animals: tasks 15 and 16 ---------------------------------------------------------------


def _fears(draw: Draw) -> list[Line]:
    """Task 15: kinds of animals are afraid of others; some animals have names, told after what
    their kind is afraid of."""
    kinds = tuple(PLURAL)
    fears: dict[str, str] = {}
    kind_of: dict[str, str] = {}
    told: dict[str, int] = {}
    lines: list[Line] = []
    while len(told) < len(kinds) + len(NAMED):
        subject = pick(draw, (*kinds, *NAMED))
        kind = pick_other(draw, kinds, subject)
        if subject in told or (subject in NAMED and kind not in told):
            continue
        if subject in NAMED:
            kind_of[subject] = kind
            lines.append(sentence(f"{subject} is a {kind}."))
        else:
            fears[subject] = kind
            who = PLURAL[subject].capitalize()
            lines.append(sentence(f"{who} are afraid of {PLURAL[kind]}."))
        told[subject] = len(lines)
    for _ in range(4):
        name = pick(draw, NAMED)
        kind = kind_of[name]
        question = f"What is {name.lower()} afraid of?"
        lines.append((question, fears[kind], (told[name], told[kind])))
    return lines


def _colours(draw: Draw) -> list[Line]:
    """Task 16: what is the colour of an animal, if others of its kind have one? The one counts of
    which it was last told what it is.

    As in the official stories, an animal of the same kind that joins changes the colour that is
    told of this kind, and nothing is asked of an animal with exactly two others of its kind.
    """
    while True:
        kind_of: dict[str, str] = {}
        colour: dict[str, str] = {}  # of a kind
        told: dict[str, tuple[str, int]] = {}  # colour of an animal, and its line
        lines: list[Line] = []
        kind_line: dict[str, int] = {}
        while len(lines) < 2 * len(COLOURED) - 1:
            new = [name for name in COLOURED if name not in kind_of]
            known = [name for name in kind_of if name not in told]
            name = pick(draw, (*new, *known))
            if len(new) + len(known) == 1 and not new:
                break
            if name in new:
                kind_of[name] = pick(draw, ANIMALS)
                colour[kind_of[name]] = pick(draw, COLOURS)
                lines.append(sentence(f"{name} is a {kind_of[name]}."))
                kind_line[name] = len(lines)
            else:
                told[name] = (colour[kind_of[name]], len(lines) + 1)
                lines.append(sentence(f"{name} is {colour[kind_of[name]]}."))
        (name,) = set(COLOURED) - set(told)
        alike = [n for n in kind_of if kind_of[n] == kind_of[name] and n != name]
        if alike and len(alike) != 2:
            example = alike[-1]
            answer, line = told[example]
            support = (kind_line[name], kind_line[example], line)
            return [*lines, (f"What color is {name}?", answer, support)]


# ---- shapes and boxes: tasks 17 and 18 ------------------------------------------------------


def _shapes(draw: Draw) -> list[Line]:
    """Task 17: two shapes lie beside a third one, on different sides of it."""
    middle, *others = sample(draw, SHAPES, 3)
    places = sample(draw, tuple(SIDES.values()), 2)
    lines: list[Line] = []
    for other, (x, y) in zip(others, places, strict=True):
        subject, object_, place = other, middle, (x, y)
        if draw() < 2 / 3:
            subject, object_, place = middle, other, (-x, -y)
        (side,) = (name for name, step in SIDES.items() if step == place)
        lines.append(sentence(f"The {subject} is {side} the {object_}."))
    for _ in range(8):
        first = int(2 * draw())
        (ax, ay), (bx, by) = places[first], places[1 - first]
        right = {s for s, (x, y) in SIDES.items() if x * (ax - bx) + y * (ay - by) > 0}
        wanted = draw() < 0.5
        side = pick(draw, [s for s in SIDES if (s in right) == wanted])
        question = f"Is the {others[first]} {side} the {others[1 - first]}?"
        lines.append((question, "yes" if wanted else "no", (first + 1, 2 - first)))
    return lines


def _sizes(draw: Draw) -> list[Line]:
    """Task 18: what fits into what, from two facts of which one is among the last five."""
    things = (*sample(draw, BOXES, len(BOXES)), *SMALL)  # from the largest one
    facts: list[tuple[int, int]] = []  # places of the larger and of the smaller thing
    lines: list[Line] = []
    questions: list[Line] = []
    while not questions:
        for _ in range(5):
            larger, smaller = sorted(sample(draw, range(len(things)), 2))
            facts.append((larger, smaller))
            large, small = things[larger], things[smaller]
            bigger = draw() < 0.5
            lines.append(
                sentence(
                    f"The {large} is bigger than the {small}."
                    if bigger
                    else f"The {small} fits inside the {large}."
                )
            )
        chains = _chains(facts)
        if chains:
            questions = [_ask_size(draw, things, *pick(draw, chains)) for _ in range(5)]
    return lines + questions


_Chain = tuple[str, int, int, tuple[int, int]]  # answer, larger and smaller thing, support


def _chains(facts: list[tuple[int, int]]) -> list[_Chain]:
    """What can be asked: a recent fact gives one thing, the first fact about its other thing gives
    the other one, if the sizes of the three are in order."""
    found: list[_Chain] = []
    for place in range(len(facts) - 5, len(facts)):
        for end in (0, 1):
            thing, shared = facts[place][1 - end], facts[place][end]
            following = (k for k, f in enumerate(facts) if shared in f and thing not in f)
            other = next(following, place)
            if facts[other][1 - end] == shared:
                last = facts[other][end]
                support = (place + 1, other + 1)
                found.append(("yes" if end else "no", min(thing, last), max(thing, last), support))
    return found


def _ask_size(
    draw: Draw, things: tuple[str, ...], answer: str, larger: int, smaller: int, support: tuple
) -> Line:
    large, small = things[larger], things[smaller]
    if answer == "no":
        large, small = small, large
    question = f"Is the {large} bigger than the {small}?"
    if draw() < 0.5:
        question = f"Does the {small} fit in the {large}?"
    return question, answer, support


STORIES: dict[int, Story] = {
    4: _rooms_in_a_row,
    15: _fears,
    16: _colours,
    17: _shapes,
    18: _sizes,
    19: _paths,
}
