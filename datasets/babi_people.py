"""bAbI stories of people who walk about and handle things: tasks 1 to 3, 5 to 14 and 20.

The rules are those of the official stories, read off their files. People and things are somewhere
from the start, although the reader learns where only from what is told. A person and a kind of
action are drawn until the action is possible. After two sentences a question is asked if one can
be: it is about one of the last five clauses (:data:`RECENT`), drawn from those that have an
answer; else two more sentences are told. A story has five questions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from datasets.babi_draws import Draw, Line, Story, pick, pick_other, sample, sentence

ROOMS = ("bathroom", "bedroom", "garden", "hallway", "kitchen", "office")
PLACES = ("bedroom", "cinema", "kitchen", "office", "park", "school")
THINGS = ("apple", "football", "milk")
PEOPLE = ("John", "Mary", "Sandra", "Daniel")
GIVERS = ("Mary", "Fred", "Bill", "Jeff")
GOERS = ("Bill", "Fred", "Julie", "Mary")
PRONOUNS = {"Daniel": "he", "John": "he", "Mary": "she", "Sandra": "she"}
AGENTS = ("Antoine", "Jason", "Sumit", "Yann")
WANTS = {
    "bored": ("garden", "football"),
    "hungry": ("kitchen", "apple"),
    "thirsty": ("kitchen", "milk"),
    "tired": ("bedroom", "pajamas"),
}
"""Motivation: where one goes, and what one takes there."""

RECENT = 5
_QUESTIONS = 5  # in a story
_MOVED = ("went", "went back", "moved", "travelled", "journeyed")
_TOOK = ("took", "got", "grabbed", "picked up")
_LEFT = ("left", "discarded", "dropped", "put down")
_GAVE = ("gave", "handed", "passed")
_THEN = ("After that", "Afterwards", "Following that", "Then")
_TIMES = ("yesterday", "this morning", "this afternoon", "this evening")
_NUMBERS = ("none", "one", "two", "three")


# ---- people who act: tasks 1 to 3 and 5 to 8 ------------------------------------------------


class _Act(NamedTuple):
    kind: str
    person: str
    thing: str
    line: int


class _Gift(NamedTuple):
    giver: str
    thing: str
    receiver: str
    line: int


class _World:
    """People and things in rooms, and what a reader of the story knows of them.

    Attributes:
        room: of every person. place: of every thing, "" while somebody has it. holder: of a thing.
        acts: all that were told. line: of the last one; questions count.
        moves: line of every person's last move, where one was told.
        handled: line of every thing's last taking or leaving.
        carried: (room, line) of the moves of the last person who took a thing, while having it.
        left: room where a thing was left, "" where the reader does not know it, and the line of
            the person's move there.
        hands: of every person, the lines of takings, leavings and gifts by thing, in the order in
            which they first had the things.
        gifts: the last gift of every thing. pairs: line of the last gift from one to another.
    """

    def __init__(self, draw: Draw, people: tuple[str, ...], kinds: tuple[str, ...], there: float):
        """``kinds`` of actions, as often as their weights; ``there``: share of "took the milk
        there" among takings."""
        self.draw, self.people, self.kinds, self.there = draw, people, kinds, there
        self.room = {person: pick(draw, ROOMS) for person in people}
        self.place = {thing: pick(draw, ROOMS) for thing in THINGS}
        self.holder = dict.fromkeys(THINGS, "")
        self.acts: list[_Act] = []
        self.line = 0
        self.moves: dict[str, int] = {}
        self.handled: dict[str, int] = {}
        self.carried: dict[str, list[tuple[str, int]]] = {}
        self.left: dict[str, tuple[str, int]] = {}
        self.hands: dict[str, dict[str, list[int]]] = {person: {} for person in people}
        self.gifts: dict[str, _Gift] = {}
        self.pairs: dict[tuple[str, str], int] = {}

    def act(self) -> str:
        """Let somebody do something that is possible, and tell it."""
        self.line += 1
        draw = self.draw
        while True:
            person, kind = pick(draw, self.people), pick(draw, self.kinds)
            here = self.room[person]
            if kind == "move":
                room = pick(draw, ROOMS)
                if room != here:
                    return self._move(person, room)
            elif kind == "take":
                lying = [thing for thing in THINGS if self.place[thing] == here]
                if lying:
                    return self._take(person, pick(draw, lying))
            else:
                held = [thing for thing in THINGS if self.holder[thing] == person]
                near = [p for p in self.people if p != person and self.room[p] == here]
                if held and kind == "leave":
                    return self._leave(person, pick(draw, held))
                if held and near and kind == "give":
                    return self._give(person, held[0], near[0])  # as in the official stories

    def recent(self) -> list[_Act]:
        """The acts that a question may be about."""
        return self.acts[-RECENT:]

    def _move(self, person: str, room: str) -> str:
        self.acts.append(_Act("move", person, "", self.line))
        self.room[person] = room
        self.moves[person] = self.line
        for thing in THINGS:
            if self.holder[thing] == person:
                self.carried[thing].append((room, self.line))
        return f"{person} {pick(self.draw, _MOVED)} to the {room}."

    def _take(self, person: str, thing: str) -> str:
        self.holder[thing], self.place[thing], self.carried[thing] = person, "", []
        return self._handle("take", person, thing, _TOOK, self.there)

    def _leave(self, person: str, thing: str) -> str:
        here = self.room[person]
        self.holder[thing], self.place[thing] = "", here
        self.left[thing] = (here, self.moves[person]) if person in self.moves else ("", 0)
        return self._handle("leave", person, thing, _LEFT, 0.2)

    def _handle(
        self, kind: str, person: str, thing: str, verbs: tuple[str, ...], there: float
    ) -> str:
        self.acts.append(_Act(kind, person, thing, self.line))
        self.handled[thing] = self.line
        self.hands[person].setdefault(thing, []).append(self.line)
        end = " there." if self.draw() < there else "."
        return f"{person} {pick(self.draw, verbs)} the {thing}{end}"

    def _give(self, giver: str, thing: str, receiver: str) -> str:
        self.acts.append(_Act("give", giver, thing, self.line))
        self.holder[thing] = receiver
        for person in (giver, receiver):
            self.hands[person].setdefault(thing, []).append(self.line)
        self.gifts[thing] = _Gift(giver, thing, receiver, self.line)
        self.pairs[giver, receiver] = self.line
        return f"{giver} {pick(self.draw, _GAVE)} the {thing} to {receiver}."


def _where_is_person(world: _World) -> Line | None:
    """Task 1."""
    person = pick(world.draw, world.recent()).person
    return f"Where is {person}? ", world.room[person], (world.moves[person],)


def _where_is_thing(world: _World) -> Line | None:
    """Task 2: a thing left where the reader knows, or carried on since it was taken."""
    known = {}
    for act in world.recent():
        thing = act.thing
        if not thing or act.line != world.handled[thing]:
            continue
        room, line = world.left[thing] if act.kind == "leave" else ("", 0)
        if act.kind == "take" and world.carried[thing]:
            room, line = world.carried[thing][-1]
        if room:
            known[thing] = (room, act.line, line)
    if not known:
        return None
    thing = pick(world.draw, tuple(known))
    room, *support = known[thing]
    return f"Where is the {thing}? ", room, tuple(support)


def _where_was_thing(world: _World) -> Line | None:
    """Task 3: two rooms one after the other, where one person carried a thing."""
    known = [a for a in world.recent() if a.thing and len(world.carried[a.thing]) > 1]
    known = [act for act in known if act.line == world.handled[act.thing]]
    if not known:
        return None
    act = pick(world.draw, known)
    moves = world.carried[act.thing]
    rooms = [room for room, _ in moves]
    # The reader takes the last visit to a room.
    places = [place for place in range(1, len(rooms)) if rooms[place] not in rooms[place + 1 :]]
    place = pick(world.draw, places)
    (before, before_line), (room, line) = moves[place - 1 : place + 1]
    support = (act.line, line, before_line)
    return f"Where was the {act.thing} before the {room}? ", before, support


def _who_gave_what(world: _World) -> Line | None:
    """Task 5: the last gift of a thing."""
    gifts = [world.gifts[act.thing] for act in world.recent() if act.kind == "give"]
    if not gifts:
        return None
    giver, thing, receiver, line = pick(world.draw, gifts)
    questions = [
        (f"Who gave the {thing}? ", giver),
        (f"Who gave the {thing} to {receiver}? ", giver),
        (f"Who received the {thing}? ", receiver),
        (f"Who did {giver} give the {thing} to? ", receiver),
    ]
    if world.pairs[giver, receiver] == line:  # else another thing would be an answer, too
        questions += 2 * [(f"What did {giver} give to {receiver}? ", thing)]
    question, answer = pick(world.draw, questions)
    return question, answer, (line,)


def _is_person_there(world: _World) -> Line | None:
    """Task 6."""
    movers = [act.person for act in world.recent() if act.kind == "move"]
    if not movers:
        return None
    person = pick(world.draw, movers)
    room, answer = world.room[person], "yes"
    if world.draw() < 0.5:
        room, answer = pick_other(world.draw, ROOMS, room), "no"
    return f"Is {person} in the {room}? ", answer, (world.moves[person],)


def _person_with_hands(world: _World) -> str | None:
    people = [act.person for act in world.recent() if act.kind != "move"]
    return pick(world.draw, people) if people else None


def _how_many(world: _World) -> Line | None:
    """Task 7."""
    person = _person_with_hands(world)
    if person is None:
        return None
    number = sum(holder == person for holder in world.holder.values())
    support = sorted(line for lines in world.hands[person].values() for line in lines)
    return f"How many objects is {person} carrying? ", _NUMBERS[number], tuple(support)


def _which(world: _World) -> Line | None:
    """Task 8: things in the order in which the person first had them, joined by commas."""
    person = _person_with_hands(world)
    if person is None:
        return None
    hands = world.hands[person]
    answer = ",".join(thing for thing in hands if world.holder[thing] == person)
    support = (line for lines in hands.values() for line in lines)
    return f"What is {person} carrying? ", answer or "nothing", tuple(support)


def _acting(
    ask: Callable[[_World], Line | None],
    kinds: tuple[str, ...] = ("move",),
    people: tuple[str, ...] = PEOPLE,
    there: float = 1.0,
) -> Story:
    """Stories of people who act, with ``ask`` for the questions."""

    def story(draw: Draw) -> list[Line]:
        world = _World(draw, people, kinds, there)
        lines: list[Line] = []
        asked = 0
        while asked < _QUESTIONS:
            lines += [sentence(world.act()), sentence(world.act())]
            question = ask(world)
            if question:
                world.line += 1
                asked += 1
                lines.append(question)
        return lines

    return story


_HANDLING = ("move", "take", "leave")
_GIVING = 3 * _HANDLING + 10 * ("give",)


# ---- people who go together and are called he, she and they: tasks 11 to 13 -----------------


def _going(together: bool, pronouns: bool) -> Story:
    """Stories of one person, or of two, who go somewhere; ``pronouns``: and then on."""

    def story(draw: Draw) -> list[Line]:
        room = {person: pick(draw, ROOMS) for person in PEOPLE}
        support: dict[str, tuple[int, ...]] = {}
        clauses: list[str] = []  # the people, once for every sentence about them
        lines: list[Line] = []

        def go(group: list[str], subject: str) -> int:
            there = pick_other(draw, ROOMS, *(room[person] for person in group))
            room.update(dict.fromkeys(group, there))
            clauses.extend(group)
            lines.append(sentence(f"{subject} {pick(draw, _MOVED)} to the {there}."))
            return len(lines)

        for _ in range(_QUESTIONS):
            for _ in range(1 if pronouns else 2):
                group = sample(draw, PEOPLE, 2 if together else 1)
                told = [go(group, " and ".join(group))]
                if pronouns:
                    pronoun = "they" if together else PRONOUNS[group[0]]
                    told.append(go(group, f"{pick(draw, _THEN)} {pronoun}"))
                support.update(dict.fromkeys(group, tuple(told)))
            person = pick(draw, clauses[-RECENT:])
            lines.append((f"Where is {person}? ", room[person], support[person]))
        return lines

    return story


# ---- people of whom not everything is said: tasks 9 and 10 ----------------------------------


def _reported(draw: Draw, people: tuple[str, ...], rooms: tuple[str, ...], unsure: bool):
    """Stories of people who move, told by where they go or are, or, a quarter of the time, by
    where they are no longer (or, ``unsure``, by two rooms of which one is right)."""
    room = {person: pick(draw, rooms) for person in people}
    said: dict[str, tuple[str, ...]] = {}  # "in", "not" or "either", and rooms
    told: dict[str, int] = {}
    recent: list[str] = []
    lines: list[Line] = []
    for _ in range(_QUESTIONS):
        for _ in range(2):
            person = pick(draw, people)
            before, room[person] = room[person], pick_other(draw, rooms, room[person])
            kind = int(4 * draw())
            if kind < 3:
                verb = "is in" if kind == 2 else f"{pick(draw, _MOVED)} to"
                text, said[person] = f"{verb} the {room[person]}", ("in", room[person])
            elif unsure:
                one, other = sample(draw, (room[person], pick(draw, rooms)), 2)
                text = f"is either in the {one} or the {other}"
                said[person] = ("either", one, other)
            else:
                text = f"is {pick(draw, ('no longer', 'not'))} in the {before}"
                said[person] = ("not", before)
            lines.append(sentence(f"{person} {text}."))
            told[person] = len(lines)
            recent.append(person)
        person = pick(draw, recent[-RECENT:])
        how, *named = said[person]
        asked = room[person] if draw() < 0.5 else pick_other(draw, rooms, room[person])
        if how == "not":
            asked = named[0]
        answer = {"in": "yes", "not": "no", "either": "maybe"}[how] if asked in named else "no"
        lines.append((f"Is {person} in the {asked}? ", answer, (told[person],)))
    return lines


def _negation(draw: Draw) -> list[Line]:
    """Task 9."""
    return _reported(draw, PEOPLE, ROOMS, unsure=False)


def _indefinite(draw: Draw) -> list[Line]:
    """Task 10."""
    return _reported(draw, GOERS, PLACES, unsure=True)


# ---- people at different times of a day: task 14 --------------------------------------------


def _day(draw: Draw) -> list[Line]:
    """Everybody's moves are told from yesterday on, but the sentences before a question are
    shuffled. The first question comes as soon as somebody has moved twice."""
    visits: dict[str, list[str]] = {person: [] for person in GOERS}  # rooms, from yesterday on
    told: dict[tuple[str, int], int] = {}  # line of a person's visit
    moves: list[tuple[str, int]] = []
    lines: list[Line] = []

    def move() -> tuple[str, int]:
        person = pick(draw, [p for p in GOERS if len(visits[p]) < len(_TIMES)])
        visits[person].append(pick_other(draw, PLACES, *visits[person][-1:]))
        return person, len(visits[person]) - 1

    for _ in range(_QUESTIONS):
        batch = [move(), move()]
        while max(map(len, visits.values())) < 2:
            batch += [move(), move()]
        moves += batch
        for person, time in _shuffled(draw, batch):
            what = f"{person} {pick(draw, _MOVED)} to the {visits[person][time]}"
            when = _TIMES[time]
            lines.append(
                sentence(f"{when.capitalize()} {what}." if draw() < 0.5 else f"{what} {when}.")
            )
            told[person, time] = len(lines)
        person, time = pick(
            draw, [move for move in moves[-RECENT:] if _is_last_visit(visits, move)]
        )
        question = f"Where was {person} before the {visits[person][time]}? "
        support = (told[person, time], told[person, time - 1])
        lines.append((question, visits[person][time - 1], support))
    return lines


def _shuffled(draw: Draw, items: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """In another order, in which nothing stays in its place (one cycle, Sattolo 1986)."""
    items = list(items)
    for last in range(len(items) - 1, 0, -1):
        other = int(draw() * last)
        items[last], items[other] = items[other], items[last]
    return items


def _is_last_visit(visits: dict[str, list[str]], move: tuple[str, int]) -> bool:
    """Whether a move has one before it, and its room is not visited again."""
    person, time = move
    rooms = visits[person]
    return time > 0 and rooms[time] not in rooms[time + 1 :]


# ---- people who want something: task 20 -----------------------------------------------------


def _motives(draw: Draw) -> list[Line]:
    """People want something, go where it is and take it, if nobody has it yet."""
    wants = {agent: pick(draw, tuple(WANTS)) for agent in AGENTS}
    steps, wanted_at, taken = dict.fromkeys(AGENTS, 0), {}, set()
    active = list(AGENTS)
    lines: list[Line] = []
    while active:
        agent = pick(draw, active)
        want, name = wants[agent], agent.lower()
        room, thing = WANTS[want]
        if steps[agent] == 2 and thing in taken:
            active.remove(agent)
            continue
        if steps[agent] == 0:
            wanted_at[agent] = len(lines) + 1
            told, question, answer = f"{agent} is {want}.", f"Where will {name} go?", room
        elif steps[agent] == 1:
            told = f"{agent} {pick(draw, _MOVED)} to the {room}."
            question, answer = f"Why did {name} go to the {room}?", want
        else:
            taken.add(thing)
            active.remove(agent)
            told = f"{agent} {pick(draw, _TOOK)} the {thing} there."
            question, answer = f"Why did {name} get the {thing}?", want
        lines += [sentence(told), (question, answer, (wanted_at[agent],))]
        steps[agent] += 1
    return lines


STORIES: dict[int, Story] = {
    1: _acting(_where_is_person),
    2: _acting(_where_is_thing, _HANDLING),
    3: _acting(_where_was_thing, _HANDLING, there=0.2),
    5: _acting(_who_gave_what, _GIVING, GIVERS),
    6: _acting(_is_person_there, _HANDLING),
    7: _acting(_how_many, _GIVING),
    8: _acting(_which, _HANDLING),
    9: _negation,
    10: _indefinite,
    11: _going(together=False, pronouns=True),
    12: _going(together=True, pronouns=False),
    13: _going(together=True, pronouns=True),
    14: _day,
    20: _motives,
}
