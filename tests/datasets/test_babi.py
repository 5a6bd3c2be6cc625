import gzip
import hashlib
import io
import os
import tarfile
from collections import Counter

import pytest
import torch

from common.errors import UserError
from datasets import babi, babi_files, real
from datasets.babi import load_babi, parse, tokens
from datasets.babi_files import FOLDER, TASKS, file_name, read_files
from datasets.babi_stories import babi_text

GIVEN = os.environ.get("SNN_DATA")
needs_data = pytest.mark.skipif(not GIVEN, reason="SNN_DATA does not name a folder of real data")
ABSENT = "en-10k/qa3_three-supporting-facts_train.txt"

SMALL = """\
1 Mary moved to the Bathroom.
2 John went back to the hallway.
3 Where is Mary? \tbathroom\t1
4 John took the milk.
5 What is John carrying? \tmilk,Apple\t4
1 Daniel ran.
2 Where is Daniel? \tnowhere\t1
"""


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    """No data given, nothing downloaded yet, and no home that answers."""
    monkeypatch.delenv("SNN_DATA", raising=False)
    for module in (babi_files, real):
        monkeypatch.setattr(module, "DATA_FILES", tmp_path / "downloads")
    archive = babi_files.ARCHIVE._replace(homes=("http://127.0.0.1:9/",))
    monkeypatch.setattr(babi_files, "ARCHIVE", archive)
    return tmp_path


@pytest.fixture
def given(offline, monkeypatch):
    """A folder ``SNN_DATA``, and small texts whose checksums are the known ones."""
    texts = {
        file_name(task, split, True): babi_text(task, 30, split).encode()
        for task in (1, 15)
        for split in ("train", "test")
    }
    sums = {name: hashlib.sha256(text).hexdigest() for name, text in texts.items()}
    sums |= {file_name(1, "train", False): "of another", ABSENT: git_hash(b"official")}
    monkeypatch.setattr(babi_files, "_checksums", lambda: sums)
    monkeypatch.setenv("SNN_DATA", str(offline / "given"))
    return offline / "given" / "babi", texts


def git_hash(content):
    return "git blob " + hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


def pack(folder, texts, prefix=f"{FOLDER}/"):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{FOLDER}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in texts.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    return path


def unpack(folder, texts):
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)


# ---- files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", [f"{FOLDER}/", f"./{FOLDER}/", ""])
def test_archive_that_was_packed_again_is_read_without_unpacking(given, prefix):
    folder, texts = given
    pack(folder, texts, prefix)
    assert read_files(list(texts)) == {name: text.decode() for name, text in texts.items()}
    assert [path.name for path in folder.iterdir()] == [f"{FOLDER}.tar.gz"]


@pytest.mark.parametrize("below", [FOLDER, "."])
def test_unpacked_files_come_first(given, below):
    folder, texts = given
    unpack(folder / below, texts)
    (folder / f"{FOLDER}.tar.gz").write_bytes(b"not looked at")
    assert read_files(list(texts)) == {name: text.decode() for name, text in texts.items()}


def test_a_missing_file_is_named_and_may_be_added_beside_the_archive(given, offline):
    folder, texts = given
    pack(folder, texts)
    with pytest.raises(UserError, match=f"{ABSENT} is missing in .*tar.gz.*put the official file"):
        load_babi(3)
    target = offline / "downloads/babi" / FOLDER
    unpack(target, {ABSENT: b"official"})
    assert read_files([ABSENT, *texts])[ABSENT] == "official"
    unpack(target, {ABSENT: b"Official"})
    with pytest.raises(UserError, match="is damaged, cut off or another file"):
        read_files([ABSENT])


def test_incomplete_folder_of_unpacked_files(given):
    folder, texts = given
    (first, text), (second, _) = list(texts.items())[:2]
    unpack(folder, {first: text})
    with pytest.raises(UserError, match=f"{second} is missing in .*could not be downloaded"):
        read_files([first, second])


def test_damaged_empty_and_mixed_up_files_are_one_sentence(given):
    folder, texts = given
    train, test = file_name(1, "train", True), file_name(1, "test", True)
    for content, message in [
        (texts[train][:-1], "is damaged, cut off or another file"),
        (b"", "is empty"),
        (texts[test], f"holds what belongs into {test}"),
    ]:
        unpack(folder, {train: content})
        with pytest.raises(UserError, match=f"{train} {message}; put the official file"):
            load_babi(1, data="real")


def test_damaged_archives_are_one_sentence(given):
    folder, texts = given
    whole = pack(folder, texts).read_bytes()
    train = file_name(1, "train", True)
    for content in (whole[: len(whole) // 2], b"", b"text", gzip.compress(b"no tar")):
        (folder / f"{FOLDER}.tar.gz").write_bytes(content)
        with pytest.raises(UserError, match=r"SHA-256 is .* \(damaged, cut off or another file\)"):
            read_files([train])
    pack(folder, {**texts, train: texts[train].replace(b"Mary", b"Anna")})
    with pytest.raises(UserError, match="SHA-256 is"):
        read_files([train])


def test_line_ends_of_other_systems_are_read(given):
    folder, texts = given
    unpack(folder, {name: text.replace(b"\n", b"\r\n") for name, text in texts.items()})
    found = read_files(list(texts))
    for name, text in texts.items():
        one, other = parse(found[name], name), parse(text.decode(), name)
        assert one.spans.tolist() == other.spans.tolist()
        assert one._replace(spans=None) == other._replace(spans=None)


def test_archives_and_files_that_are_too_large_are_refused(given, monkeypatch):
    folder, texts = given
    train = file_name(1, "train", True)
    monkeypatch.setattr(babi_files, "_MOST_OF_FILE", 100_000)
    monkeypatch.setattr(babi_files, "_MOST_OF_ARCHIVE", 1_000_000)
    large = pack(folder, {**texts, train: bytes(100_001)})
    with pytest.raises(UserError, match=f"{train} is too large"):
        babi_files._members(large, {train})
    more = {f"another{k}": bytes(90_000) for k in range(20)}
    many = pack(folder, {**more, **texts})
    with pytest.raises(UserError, match="unpacks to more than bAbI can be"):
        babi_files._members(many, {train})
    sparse = tarfile.TarInfo(train)
    sparse.size, sparse.pax_headers = (
        512,
        {
            "GNU.sparse.major": "1",
            "GNU.sparse.minor": "0",
            "GNU.sparse.name": train,
            "GNU.sparse.realsize": str(6 * 2**30),
        },
    )
    with tarfile.open(large, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(sparse, io.BytesIO(b"1\n0\n0\n".ljust(512, b"\0")))
    with pytest.raises(UserError, match="too large"):
        babi_files._members(large, {train})
    large.unlink()
    unpack(folder, {train: bytes(100_001)})
    with pytest.raises(UserError, match="is too large to be a file of bAbI"):
        read_files([train])


def test_links_and_folders_in_an_archive_are_not_followed(given):
    folder, texts = given
    pack(folder, {})
    with tarfile.open(folder / f"{FOLDER}.tar.gz", "w:gz") as archive:
        for name in texts:
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(member)
    with pytest.raises(UserError, match="SHA-256 is"):
        read_files(list(texts))


def test_without_files_stories_are_generated_and_announced(caplog):
    task = load_babi(15, ten_k=False)
    assert task.source == "embedded stories" and len(task.train.answers) == 900
    assert "using generated stories instead of the official bAbI files" in caplog.text
    with pytest.raises(UserError, match=r"could not be downloaded.*or give --data embedded"):
        load_babi(15, data="real")
    assert len(load_babi(7, data="embedded", questions=50).train.answers) == 45
    with pytest.raises(UserError, match="--questions 50 is for generated stories"):
        load_babi(7, questions=50)
    with pytest.raises(UserError, match="unknown bAbI task 21; known are 1, 2"):
        load_babi(21)


# ---- text -----------------------------------------------------------------------------------


def test_tokens():
    assert tokens("Where was the Milk before the office? ") == [
        "where",
        "was",
        "the",
        "milk",
        "before",
        "the",
        "office",
    ]


def test_parsed_text():
    text = parse(SMALL, "small")
    assert text.sentences[1] == ["john", "went", "back", "to", "the", "hallway"]
    assert len(text.sentences) == 4 and text.spans.tolist() == [[0, 2], [0, 3], [3, 4]]
    assert text.answers == ["bathroom", "milk,apple", "nowhere"]
    assert text.questions[1] == ["what", "is", "john", "carrying"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 Mary moved.\n", "holds no questions"),
        ("", "holds no questions"),
        (SMALL + "1 Who is it?\tmary\t1\n", "line 8 is not the numbered"),
        (SMALL.replace("\n4 ", "\n5 "), "line 4 is not the numbered"),
        (SMALL.replace("4 John", "John"), "line 4 is not the numbered"),
        (SMALL.replace("\tbathroom", ""), "line 3 is not the numbered"),
        (SMALL.replace("2 John went back to the hallway.", "2 ."), "line 2 is not the numbered"),
    ],
)
def test_text_that_is_no_story(text, message):
    with pytest.raises(UserError, match=f"small.* {message}"):
        parse(text, "small")


# ---- arrays ---------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch):
    """Loads ``SMALL``, five times over, as training and test file."""
    monkeypatch.setattr(babi, "read_files", lambda names: dict.fromkeys(names, SMALL * 5))
    return lambda **options: load_babi(1, data="real", **options)


def words_of(task, rows):
    return [" ".join(task.vocabulary[w] for w in row if w) for row in rows.tolist()]


def test_stories_questions_and_answers_as_numbers(small):
    task = small()
    assert task.vocabulary[0] == "NIL" and list(task.vocabulary[1:]) == sorted(task.vocabulary[1:])
    assert {"milk,apple", "bathroom", "carrying"} <= set(task.vocabulary)
    assert task.test.stories.shape == (15, 3, 6) and task.test.questions.shape == (15, 6)
    assert task.test.lengths[:3].tolist() == [2, 3, 1]
    mary, john = "mary moved to the bathroom", "john went back to the hallway"
    assert words_of(task, task.test.stories[0]) == ["", mary, john]
    assert words_of(task, task.test.stories[1]) == [mary, john, "john took the milk"]
    assert words_of(task, task.test.questions[:3]) == [
        "where is mary",
        "what is john carrying",
        "where is daniel",
    ]
    assert [task.vocabulary[a] for a in task.test.answers[:2]] == ["bathroom", "milk,apple"]
    # Words come first, the empty places of a sentence last.
    assert (task.test.stories[1, 2] > 0).tolist() == [True] * 4 + [False] * 2
    assert words_of(task, small(padding="post").test.stories[0]) == [mary, john, ""]


@pytest.mark.parametrize("padding", ["pre", "post"])
def test_time_words_count_from_the_last_sentence(small, padding):
    task = small(add_time_words=True, padding=padding)
    assert task.vocabulary[-3:] == ("TIME1", "TIME2", "TIME3") and task.n_time_words == 3
    assert task.n_words == 7 and not task.test.questions[:, -1].any()
    last = [[task.vocabulary[w] for w in story] for story in task.test.stories[:3, :, -1].tolist()]
    times = [["TIME2", "TIME1"], ["TIME3", "TIME2", "TIME1"], ["TIME1"]]
    for found, time in zip(last, times, strict=True):
        nil = ["NIL"] * (3 - len(time))
        assert found == (nil + time if padding == "pre" else time + nil)


def test_long_stories_are_left_out_and_counted(small):
    task = small(max_num_sentences=2)
    assert task.dropped == (5, 5) and len(task.test.answers) == 10
    assert task.test.stories.shape[1] == 2
    with pytest.raises(UserError, match="has 5 train questions with stories of up to 1 sentences"):
        small(max_num_sentences=1)


def test_split_is_disjoint_and_depends_on_the_seed_alone():
    one, same, other = (load_babi(4, data="embedded", dataset_seed=s) for s in (1, 1, 2))
    assert len(one.validation.answers) == 1000 and len(one.train.answers) == 9000
    for a, b in zip((*one.train, *one.validation), (*same.train, *same.validation), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one.validation.stories, other.validation.stories)

    def counted(*parts):
        return Counter(
            row.numpy().tobytes()
            for part in parts
            for row in torch.cat(
                [part.stories.flatten(1), part.questions, part.answers[:, None]], 1
            )
        )

    assert counted(one.train, one.validation) == counted(other.train, other.validation)


# ---- official files -------------------------------------------------------------------------


@needs_data
@pytest.mark.parametrize("ten_k", [True, False])
def test_official_counts(ten_k, monkeypatch):
    monkeypatch.setenv("SNN_DATA", GIVEN)
    names = {
        (task, split): file_name(task, split, ten_k)
        for task in TASKS
        for split in ("train", "test")
    }
    held = babi_files._members(real.locate(babi_files.ARCHIVE), set(names.values()))
    counts = {}
    for key, name in names.items():
        if name in held:
            text = babi_files._checked(held[name], name, babi_files.ARCHIVE.path)
            counts[key] = len(parse(text, name).answers)
    expected = {key: 10_000 if ten_k and key[1] == "train" else 1000 for key in names}
    missing = {key for key in names if key not in counts}
    assert missing <= ({(3, "train")} if ten_k else set())
    assert counts == {key: count for key, count in expected.items() if key not in missing}


@needs_data
def test_official_questions_are_all_used_or_counted(monkeypatch):
    monkeypatch.setenv("SNN_DATA", GIVEN)
    task = load_babi(2, data="real")
    assert task.source == "bAbI v1.2 en-10k" and task.dropped == (13, 6)
    assert len(task.train.answers) + len(task.validation.answers) == 10_000 - 13
    assert len(task.validation.answers) == 998 and len(task.test.answers) == 1000 - 6
    assert int(task.train.lengths.max()) <= 50 and task.train.stories.shape[1] <= 50


@needs_data
@pytest.mark.parametrize("task", [1, 2, 5, 7, 8, 14, 18])
def test_generated_stories_have_the_official_numbers_of_words(task, monkeypatch):
    monkeypatch.setenv("SNN_DATA", GIVEN)
    official = load_babi(task, data="real", add_time_words=True)
    generated = load_babi(task, data="embedded", add_time_words=True)
    assert generated.vocabulary == official.vocabulary
    assert generated.n_words == official.n_words
    assert generated.n_time_words == official.n_time_words
