"""Generated bAbI stories: right, fast, the same everywhere, and like the official ones."""

import hashlib
import os
import time
from collections import Counter
from functools import cache

import numpy as np
import pytest
from babi_solver import solve

from common.errors import UserError
from datasets import babi_stories
from datasets.babi import official_words, parse
from datasets.babi_files import TASKS, file_name, read_files
from datasets.babi_stories import STORIES, babi_text

needs_data = pytest.mark.skipif(
    not os.environ.get("SNN_DATA"), reason="SNN_DATA does not name a folder of real data"
)
HASHES = {
    1: "66ae61075b8f7111",
    2: "38e1c0ee9d93a1d7",
    3: "1bd75cab5352f572",
    4: "0dede8607643f66c",
    5: "52bdee50216b5629",
    6: "30c4e2d20dcdb5c0",
    7: "fa90732bf7b10b6f",
    8: "f65d98b3fb45aa39",
    9: "fb5c4bc0f49c69bd",
    10: "c3e139e538fab348",
    11: "2952023acc1b5885",
    12: "31d84aae1658f040",
    13: "9eb58a7a42cace84",
    14: "f9f9b7f8be0ea201",
    15: "a43c5ef280013680",
    16: "c2601ab84cd12951",
    17: "e771300ace682f17",
    18: "1ff251553275fc46",
    19: "71f9c47c8710c36f",
    20: "886351d2671cfce3",
}
"""Beginnings of the SHA-256 of 300 questions."""
ANSWERS = {3: 8.0, 5: 4.0}
"""Largest distance of the answers' shares to the official ones, in points; 3 for other tasks. Of
task 3 only 2 000 official questions are compared; in task 5 the official things and people are
less even than chance allows."""
SENTENCES = {3: 8.0, 5: 4.0, 18: 5.0}
"""Largest difference of the mean number of sentences a story, in %; 3 for other tasks."""


def test_all_tasks_are_there():
    assert list(STORIES) == list(TASKS)
    with pytest.raises(UserError, match="unknown bAbI task 21"):
        babi_text(21, 1, 0)


@pytest.mark.parametrize("task", STORIES)
def test_stories_and_supporting_facts_answer_the_questions(task):
    text = babi_text(task, 1000, 0)
    found = solve(task, text)
    assert len(found) == 1000
    assert all(answer == read == alone for answer, read, alone in found)
    assert text.startswith(babi_text(task, 123, 0)) and text != babi_text(task, 1000, 1)
    assert len({answer for answer, *_ in found}) > 1
    words, places, _ = official_words(task)
    read = parse(text, "generated")
    found = {word for part in (*read.sentences, *read.questions) for word in part}
    assert found | set(read.answers) <= set(words)
    assert max(map(len, (*read.sentences, *read.questions))) == places


@pytest.mark.parametrize("task", STORIES)
def test_same_stories_on_every_machine(task):
    text = babi_text(task, 300, "everywhere")
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == HASHES[task]


def test_five_thousand_questions_a_second():
    for task in STORIES:
        seconds = []
        for attempt in range(5):
            begin = time.process_time()
            babi_text(task, 500, attempt)
            seconds.append(time.process_time() - begin)
        assert 500 / min(seconds) >= 5000, task


def test_command_line(tmp_path, capsys):
    babi_stories.main(["8", "--questions", "7", "--seed", "1"])
    text = capsys.readouterr().out
    assert text == babi_text(8, 7, "1") and len(solve(8, text)) == 7
    path = tmp_path / "new" / "qa8.txt"
    babi_stories.main(["8", "--questions", "7", "--seed", "1", "--out", str(path)])
    assert path.read_text() == text
    assert babi_stories.main(["8", "--questions", "0"]) != 0
    assert capsys.readouterr().err == "error: --questions is 0; give 1 or more\n"


# ---- beside the official stories ------------------------------------------------------------


@cache
def official(task):
    """Texts of the official training and test files; of task 3 those for 1 000 questions."""
    names = [file_name(task, split, task != 3) for split in ("train", "test")]
    texts = read_files(names)
    return texts[names[0]], texts[names[1]]


@cache
def generated(task):
    return babi_text(task, 10_000, "compared")


def counted(text):
    """Answers, sentences of each story, and questions of each story."""
    answers, sentences, questions = Counter(), [], []
    for line in text.splitlines():
        if line.startswith("1 "):
            sentences.append(0)
            questions.append(0)
        if "\t" in line:
            answers[line.split("\t")[1]] += 1
            questions[-1] += 1
        else:
            sentences[-1] += 1
    return answers, sentences[:-1], questions[:-1]  # the last story may be cut off


@needs_data
@pytest.mark.parametrize("task", STORIES)
def test_the_reader_answers_the_official_questions(task):
    found = solve(task, official(task)[1])
    assert len(found) == 1000
    assert all(answer == alone for answer, _, alone in found)
    # Of task 5 a few mean a gift before the last one that fits.
    assert np.mean([answer == read for answer, read, _ in found]) >= (0.995 if task == 5 else 1)


@needs_data
@pytest.mark.parametrize("task", STORIES)
def test_sentences_and_words_are_the_official_ones(task):
    def sentences(text):
        return {line.split(" ", 1)[1].split("\t")[0] for line in text.splitlines()}

    train, test = official(task)
    told = sentences(train) | sentences(test)
    made = sentences(generated(task))
    if task == 3:  # 2 000 official questions do not hold every sentence
        assert told <= made
        told = made
    assert made == told
    words, places, longest = official_words(task)
    read = [parse(text, "official") for text in (train, test)]
    found = {w for t in read for part in (*t.sentences, *t.questions) for w in part}
    assert words == tuple(sorted(found.union(*(t.answers for t in read))))
    assert max(len(part) for t in read for part in (*t.sentences, *t.questions)) == places
    assert max(int(np.diff(t.spans).max()) for t in read) == longest


@needs_data
@pytest.mark.parametrize("task", STORIES)
def test_stories_are_distributed_like_the_official_ones(task):
    told, made = counted("".join(official(task))), counted(generated(task))
    shares = [
        {answer: 100 * n / counts.total() for answer, n in counts.items()}
        for counts in (told[0], made[0])
    ]
    distance = sum(abs(shares[0].get(a, 0) - shares[1].get(a, 0)) for a in {**told[0], **made[0]})
    assert distance / 2 <= ANSWERS.get(task, 3.0)
    assert np.mean(made[1]) == pytest.approx(np.mean(told[1]), rel=SENTENCES.get(task, 3.0) / 100)
    assert np.mean(made[2]) == pytest.approx(np.mean(told[2]), rel=0.03)
