"""Answers bAbI questions by reading: a check of stories, generated and official."""

import re

MOVE = re.compile(r"(\w+) (?:went|moved|travelled|journeyed)(?: back)? to the (\w+)\.")
TAKE = re.compile(r"(\w+) (?:took|got|grabbed|picked up) the (\w+)(?: there)?\.")
DROP = re.compile(r"(\w+) (?:left|discarded|dropped|put down) the (\w+)(?: there)?\.")
GIVE = re.compile(r"(\w+) (?:gave|passed|handed) the (\w+) to (\w+)\.")
SIDE = re.compile(r"The (\w+) is (\w+) of the (\w+)\.")
FEAR = re.compile(r"(\w+) are afraid of (\w+)\.")
KIND = re.compile(r"(\w+) is an? (\w+)\.")
MOOD = re.compile(r"(\w+) is (\w+)\.")

OPPOSITE = {"north": "south", "south": "north", "east": "west", "west": "east"}
SINGULAR = {"mice": "mouse", "cats": "cat", "wolves": "wolf", "sheep": "sheep"}
PLACE = {"hungry": "kitchen", "thirsty": "kitchen", "bored": "garden", "tired": "bedroom"}


class Reader:
    """What is known after each sentence of one story."""

    def __init__(self):
        self.room, self.holder, self.trail = {}, {}, {}
        self.gifts, self.sides, self.fears, self.kind, self.mood = [], [], {}, {}, {}

    def tell(self, sentence):
        if found := MOVE.fullmatch(sentence):
            person, room = found.groups()
            self.room[person] = room
            for thing, holder in self.holder.items():
                if holder == person:
                    self._seen(thing, room)
        elif found := TAKE.fullmatch(sentence):
            person, thing = found.groups()
            assert self.holder.get(thing) is None, f"{thing} is held when {person} takes it"
            self.holder[thing] = person
            self._seen(thing, self.room.get(person))
        elif found := DROP.fullmatch(sentence):
            person, thing = found.groups()
            assert self.holder[thing] == person
            self.holder[thing] = None
            self._seen(thing, self.room.get(person))
        elif found := GIVE.fullmatch(sentence):
            giver, thing, receiver = found.groups()
            assert self.holder[thing] == giver
            known = {self.room.get(who) for who in (giver, receiver)} - {None}
            assert len(known) < 2, f"{giver} and {receiver} are in different rooms"
            self.holder[thing] = receiver
            self.gifts.append((giver, thing, receiver))
        elif found := SIDE.fullmatch(sentence):
            self.sides.append(found.groups())
        elif found := FEAR.fullmatch(sentence):
            who, of = found.groups()
            self.fears[SINGULAR[who.lower()]] = SINGULAR[of]
        elif found := KIND.fullmatch(sentence):
            self.kind[found[1].lower()] = found[2]
        else:
            who, mood = MOOD.fullmatch(sentence).groups()
            self.mood[who.lower()] = mood

    def _seen(self, thing, room):
        trail = self.trail.setdefault(thing, [])
        if not trail or trail[-1] != room:
            trail.append(room)

    def answer(self, task, question):
        """The answer, from the words of the question."""
        words = question.strip().rstrip("?").split()
        if task == 1:
            return self.room[words[2]]
        if task == 2:
            return self.trail[words[3]][-1]
        if task == 3:
            trail = self.trail[words[3]]
            last = max(place for place, room in enumerate(trail) if room == words[6])
            return trail[last - 1]
        if task == 4:
            return self._beside(words)
        if task == 5:
            return self._gift(words)
        if task == 6:
            return "yes" if self.room[words[1]] == words[4] else "no"
        if task == 15:
            return self.fears[self.kind[words[2]]]
        mood = self.mood[words[2]]
        return PLACE[mood] if words[0] == "Where" else mood

    def _beside(self, words):
        both = {(a, d, b) for a, d, b in self.sides} | {
            (b, OPPOSITE[d], a) for a, d, b in self.sides
        }
        if words[2] in OPPOSITE:  # What is north of the garden
            found = [a for a, d, b in both if (d, b) == (words[2], words[5])]
        else:  # What is the garden north of
            found = [b for a, d, b in both if (a, d) == (words[3], words[4])]
        assert len(found) == 1
        return found[0]

    def _gift(self, words):
        giver = thing = receiver = None
        if words[0] == "What":  # did A give to B
            giver, receiver = words[2], words[5]
        elif words[1] == "did":  # Who did A give the X to
            giver, thing = words[2], words[5]
        else:  # Who gave the X [to B], Who received the X
            thing, receiver = words[3], (words[5] if len(words) > 4 else None)
        wanted = (giver, thing, receiver)
        for gift in reversed(self.gifts):
            if all(w is None or w == g for w, g in zip(wanted, gift, strict=True)):
                return gift[{"What": 1, "Who": 2}[words[0]] if words[1] != "gave" else 0]
        raise AssertionError("nothing was given")


def solve(task, text):
    """(answer, answer by reading, supporting sentences) of all questions of a file's text."""
    found = []
    for line in text.splitlines():
        number, rest = line.split(" ", 1)
        if number == "1":
            reader, told = Reader(), {}
        if "\t" in rest:
            question, answer, support = rest.split("\t")
            assert all(int(n) in told for n in support.split())
            found.append((answer, reader.answer(task, question), support))
        else:
            reader.tell(rest)
            told[int(number)] = rest
    return found
