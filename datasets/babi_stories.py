"""Stories in the grammar of the bAbI tasks, for when the official files are not there.

Eight of the twenty tasks: people walk about, take, leave and hand over things (1, 2, 3, 5, 6), lie
beside rooms (4), are afraid (15) or want something (20). The text has the official format: numbered
lines, and after a question its answer and its supporting sentences, separated by tabs. What happens
is drawn from a small world in which people and things are somewhere from the start, although the
reader learns where only from a move; a question is asked only when the text so far answers it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from datasets.choices import check_choice

ROOMS = ("bathroom", "bedroom", "garden", "hallway", "kitchen", "office")
THINGS = ("apple", "football", "milk")
PEOPLE = ("Daniel", "John", "Mary", "Sandra")
GIVERS = ("Bill", "Fred", "Jeff", "Mary")
OPPOSITE = {"north": "south", "south": "north", "east": "west", "west": "east"}
PLURAL = {"cat": "cats", "mouse": "mice", "sheep": "sheep", "wolf": "wolves"}
NAMED = ("Emily", "Gertrude", "Jessica", "Winona")
AGENTS = ("Antoine", "Jason", "Sumit", "Yann")
WANTS = {
    "bored": ("garden", "football"),
    "hungry": ("kitchen", "apple"),
    "thirsty": ("kitchen", "milk"),
    "tired": ("bedroom", "pajamas"),
}
"""Motivation: where one goes, and what one takes there."""

_MOVED = ("went", "went back", "moved", "travelled", "journeyed")
_TOOK = ("took", "got", "grabbed", "picked up")
_LEFT = ("left", "discarded", "dropped", "put down")
_GAVE = ("gave", "handed", "passed")
_QUESTIONS = 5  # in a story of the tasks in which people act
_TOLD = 2  # sentences between questions

_Line = tuple[str, str, tuple[int, ...]]  # sentence or question, answer or "", support


class _World:
    """People and things in rooms, and what a reader of the story knows of them."""

    def __init__(
        self, random: Random, people: tuple[str, ...], weights: dict[str, float], there: float
    ) -> None:
        """``weights`` of the actions; ``there``: share of "took the milk there" among takings."""
        self.random, self.people, self.weights, self.there = random, people, weights, there
        self.room = {person: random.choice(ROOMS) for person in people}
        self.place = {thing: random.choice(ROOMS) for thing in THINGS}
        self.holder: dict[str, str | None] = dict.fromkeys(THINGS)
        self.sentences = 0  # lines so far, questions included
        self.moves: dict[str, int] = {}  # line of every person's last move
        self.handled: dict[str, int] = {}  # line of every thing's last taking or leaving
        # Where every thing was seen: rooms (None: a room unknown to the reader) and lines.
        self.trail: dict[str, list[tuple[str | None, int]]] = {thing: [] for thing in THINGS}
        self.gift: tuple[str, str, str, int] | None = None  # giver, thing, receiver, line

    def act(self) -> str:
        """Let somebody do something that is possible, and tell it."""
        self.sentences += 1
        person = self.random.choice(self.people)
        here = self.room[person]
        lying = [t for t in THINGS if self.holder[t] is None and self.place[t] == here]
        held = [t for t in THINGS if self.holder[t] == person]
        near = [other for other in self.people if other != person and self.room[other] == here]
        possible = {"move": True, "take": lying, "leave": held, "give": held and near}
        kinds = [kind for kind in self.weights if possible[kind]]
        (kind,) = self.random.choices(kinds, [self.weights[kind] for kind in kinds])
        if kind == "move":
            return self._move(person)
        if kind == "take":
            return self._handle(person, self.random.choice(lying), person, _TOOK, self.there)
        thing = self.random.choice(held)
        if kind == "leave":
            return self._handle(person, thing, None, _LEFT, 0.2)
        receiver = self.random.choice(near)
        self.holder[thing] = receiver
        self.gift = (person, thing, receiver, self.sentences)
        return f"{person} {self.random.choice(_GAVE)} the {thing} to {receiver}."

    def _move(self, person: str) -> str:
        room = self.random.choice([room for room in ROOMS if room != self.room[person]])
        self.room[person] = room
        self.moves[person] = self.sentences
        for thing, holder in self.holder.items():
            if holder == person:
                self._see(thing, person)
        return f"{person} {self.random.choice(_MOVED)} to the {room}."

    def _handle(
        self, person: str, thing: str, holder: str | None, verbs: tuple[str, ...], there: float
    ) -> str:
        self.holder[thing] = holder
        self.place[thing] = self.room[person]
        self.handled[thing] = self.sentences
        self._see(thing, person)
        end = " there." if self.random.random() < there else "."
        return f"{person} {self.random.choice(verbs)} the {thing}{end}"

    def _see(self, thing: str, person: str) -> None:
        """The thing is where the person is, in a room that the reader may know."""
        room = self.room[person] if person in self.moves else None
        if not self.trail[thing] or self.trail[thing][-1][0] != room:
            self.trail[thing].append((room, self.moves.get(person, 0)))


def _where_is_person(world: _World) -> _Line | None:
    if not world.moves:
        return None
    person = world.random.choice(sorted(world.moves))
    return f"Where is {person}? ", world.room[person], (world.moves[person],)


def _where_is_thing(world: _World) -> _Line | None:
    known = [thing for thing, trail in world.trail.items() if trail and trail[-1][0]]
    if not known:
        return None
    thing = world.random.choice(known)
    room, moved = world.trail[thing][-1]
    return f"Where is the {thing}? ", str(room), (world.handled[thing], moved)


def _where_was_thing(world: _World) -> _Line | None:
    known = [t for t, trail in world.trail.items() if len(trail) > 1 and trail[-1][0]]
    known = [thing for thing in known if world.trail[thing][-2][0]]
    if not known:
        return None
    thing = world.random.choice(known)
    (before, moved_before), (room, moved) = world.trail[thing][-2:]
    support = (world.handled[thing], moved, moved_before)
    return f"Where was the {thing} before the {room}? ", str(before), support


def _who_gave_what(world: _World) -> _Line | None:
    if world.gift is None:
        return None
    giver, thing, receiver, line = world.gift
    questions = (
        (f"What did {giver} give to {receiver}? ", thing),
        (f"Who gave the {thing}? ", giver),
        (f"Who gave the {thing} to {receiver}? ", giver),
        (f"Who received the {thing}? ", receiver),
        (f"Who did {giver} give the {thing} to? ", receiver),
    )
    ((question, answer),) = world.random.choices(questions, [2, 1, 1, 1, 1])
    return question, answer, (line,)


def _is_person_there(world: _World) -> _Line | None:
    if not world.moves:
        return None
    person = world.random.choice(sorted(world.moves))
    there = world.random.random() < 0.5
    others = [room for room in ROOMS if room != world.room[person]]
    room = world.room[person] if there else world.random.choice(others)
    return f"Is {person} in the {room}? ", "yes" if there else "no", (world.moves[person],)


def _acting(
    ask: Callable[[_World], _Line | None],
    people: tuple[str, ...] = PEOPLE,
    there: float = 1.0,
    **weights: float,
) -> Callable[[Random], Iterator[_Line]]:
    """Stories of people who act, with ``ask`` for the questions."""

    def story(random: Random) -> Iterator[_Line]:
        world, asked = _World(random, people, {"move": 1.0, **weights}, there), 0
        while asked < _QUESTIONS:
            for _ in range(_TOLD):
                yield world.act(), "", ()
            question = ask(world)
            if question:
                world.sentences += 1
                asked += 1
                yield question

    return story


def _rooms_in_a_row(random: Random) -> Iterator[_Line]:
    """Task 4: a room and its neighbours on opposite sides; which is on one side of another?"""
    middle, *neighbours = random.sample(ROOMS, 3)
    side = random.choice(sorted(OPPOSITE))
    facts = []
    for neighbour, direction in zip(neighbours, (side, OPPOSITE[side]), strict=True):
        facts.append(
            random.choice(
                [(neighbour, direction, middle), (middle, OPPOSITE[direction], neighbour)]
            )
        )
    for a, direction, b in facts:
        yield f"The {a} is {direction} of the {b}.", "", ()
    line = random.randrange(2)
    a, direction, b = facts[line]
    if random.random() < 0.5:
        yield f"What is {direction} of the {b}?", a, (line + 1,)
    else:
        yield f"What is the {b} {OPPOSITE[direction]} of?", a, (line + 1,)


def _fears(random: Random) -> Iterator[_Line]:
    """Task 15: kinds of animals are afraid of others, and some have names."""
    kinds = sorted(PLURAL)
    fears = {kind: random.choice([other for other in kinds if other != kind]) for kind in kinds}
    kind_of = {name: random.choice(kinds) for name in NAMED}
    first, *rest = random.sample(kinds, len(kinds))
    told = [first, *random.sample([*rest, *NAMED], len(rest) + len(NAMED))]
    for subject in told:
        if subject in fears:
            yield f"{PLURAL[subject].capitalize()} are afraid of {PLURAL[fears[subject]]}.", "", ()
        else:
            yield f"{subject} is a {kind_of[subject]}.", "", ()
    for name in random.choices(NAMED, k=4):
        kind = kind_of[name]
        support = (told.index(name) + 1, told.index(kind) + 1)
        yield f"What is {name.lower()} afraid of?", fears[kind], support


def _motives(random: Random) -> Iterator[_Line]:
    """Task 20: people want something, go where it is and take it, if nobody has it yet."""
    wants = {agent: random.choice(sorted(WANTS)) for agent in AGENTS}
    steps, wanted_at, taken, line = dict.fromkeys(AGENTS, 0), {}, set(), 1
    active = list(AGENTS)
    while active:
        agent = random.choice(active)
        want, name = wants[agent], agent.lower()
        room, thing = WANTS[want]
        if steps[agent] == 0:
            wanted_at[agent] = line
            told, question, answer = f"{agent} is {want}.", f"Where will {name} go?", room
        elif steps[agent] == 1:
            told = f"{agent} {random.choice(_MOVED)} to the {room}."
            question, answer = f"Why did {name} go to the {room}?", want
        elif thing in taken:
            active.remove(agent)
            continue
        else:
            taken.add(thing)
            active.remove(agent)
            told = f"{agent} {random.choice(_TOOK)} the {thing} there."
            question, answer = f"Why did {name} get the {thing}?", want
        yield told, "", ()
        yield question, answer, (wanted_at[agent],)
        steps[agent] += 1
        line += 2


STORIES: dict[int, Callable[[Random], Iterator[_Line]]] = {
    1: _acting(_where_is_person),
    2: _acting(_where_is_thing, take=2, leave=1.5),
    3: _acting(_where_was_thing, there=0.2, take=2, leave=1),
    4: _rooms_in_a_row,
    5: _acting(_who_gave_what, GIVERS, take=2, leave=2, give=8),
    6: _acting(_is_person_there, take=2, leave=1.5),
    15: _fears,
    20: _motives,
}
"""The tasks that can be generated: each entry tells one story, line by line."""


def babi_text(task: int, questions: int, seed: int | str) -> str:
    """Stories of a task with so many questions in all, as the text of an official file.

    The same arguments give the same text, and fewer questions give its beginning. Raises
    :class:`UserError` for a task without a generator.
    """
    check_choice("bAbI task with generated stories", task, STORIES)
    random = Random(f"bAbI {task} {seed}")
    lines: list[str] = []
    asked = 0
    while asked < questions:
        for number, (text, answer, support) in enumerate(STORIES[task](random), start=1):
            if not answer:
                lines.append(f"{number} {text}\n")
                continue
            lines.append(f"{number} {text}\t{answer}\t{' '.join(map(str, support))}\n")
            asked += 1
            if asked == questions:
                break
    return "".join(lines)
