"""Tests of the cache of decoded data sets: location, reuse and robustness."""

import os
import sys
import threading
import time

import numpy as np
import pytest

from keras_vq._files import is_unfinished, unfinished_path
from keras_vq.data import load
from keras_vq.data.cache import cache_folder, fetch

pytestmark = pytest.mark.backend_free

KEY = {"kind": "test", "name": "toy", "split": "train"}
PIXELS = np.arange(2 * 3 * 4 * 1, dtype="uint8").reshape(2, 3, 4, 1)


class Builder:
    """Builder that writes PIXELS in two parts and counts its calls."""

    def __init__(self, labels=(5, 6), wait=0.0):
        self.calls = 0
        self.labels = labels
        self.wait = wait

    def __call__(self, writer):
        self.calls += 1
        for row in range(2):
            writer.append(PIXELS[row : row + 1], self.labels and self.labels[row : row + 1])
            time.sleep(self.wait)
        writer.class_names = ("a", "b") if self.labels else None


def only_entry(folder):
    (entry,) = folder.iterdir()
    return entry


def test_built_once_and_then_memory_mapped(tmp_path):
    build = Builder()
    for _ in range(2):
        entry = fetch(tmp_path, KEY, build)
        assert isinstance(entry.pixels, np.memmap)
        np.testing.assert_array_equal(entry.pixels, PIXELS)
        assert entry.labels.tolist() == [5, 6]
        assert entry.labels.dtype == np.int32
        assert entry.class_names == ("a", "b")
    assert build.calls == 1
    assert sorted(os.listdir(only_entry(tmp_path))) == ["entry.json", "labels.npy", "pixels.npy"]


def test_without_labels(tmp_path):
    entry = fetch(tmp_path, KEY, Builder(labels=None))
    assert entry.labels is None
    assert entry.class_names is None


@pytest.mark.parametrize("change", ["kind", "name", "split", "version"])
def test_another_key_is_another_entry(tmp_path, change):
    build = Builder()
    fetch(tmp_path, KEY, build)
    fetch(tmp_path, {**KEY, change: "other"}, build)
    assert build.calls == 2


@pytest.mark.parametrize("file", ["pixels.npy", "labels.npy", "entry.json"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "delete"])
def test_a_damaged_file_is_noticed_and_rebuilt(tmp_path, file, damage):
    build = Builder()
    fetch(tmp_path, KEY, build)
    path = only_entry(tmp_path) / file
    content = path.read_bytes()
    if damage == "delete":
        path.unlink()
    elif damage == "flip":
        last = content[-1:] if file != "entry.json" else b"}"
        path.write_bytes(content[:-1] + bytes([last[0] ^ 255]))
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "truncate" else b"")
    entry = fetch(tmp_path, KEY, build)
    assert build.calls == 2
    np.testing.assert_array_equal(entry.pixels, PIXELS)
    assert entry.labels.tolist() == [5, 6]
    assert path.read_bytes() == content
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interrupted_build_leaves_nothing(tmp_path, error):
    def build(writer):
        writer.append(PIXELS)
        raise error

    with pytest.raises(error):
        fetch(tmp_path, KEY, build)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_seen_under_its_name_before_it_is_whole(tmp_path):
    def build(writer):
        writer.append(PIXELS)
        assert [is_unfinished(path) for path in tmp_path.iterdir()] == [True]

    fetch(tmp_path, KEY, build)
    assert [is_unfinished(path) for path in tmp_path.iterdir()] == [False]


@pytest.mark.parametrize("damaged", [False, True], ids=["absent", "damaged"])
def test_concurrent_builds_do_not_disturb_each_other(tmp_path, damaged):
    entries = []
    if damaged:
        fetch(tmp_path, KEY, Builder())
        (only_entry(tmp_path) / "pixels.npy").write_bytes(b"")

    def work():
        entries.append(fetch(tmp_path, KEY, Builder(wait=0.02)))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(entries) == 6
    for entry in entries:
        np.testing.assert_array_equal(entry.pixels, PIXELS)
    assert len(list(tmp_path.iterdir())) == 1


def test_what_killed_writers_left_is_removed_after_a_day(tmp_path):
    old, new = unfinished_path(tmp_path / "a"), unfinished_path(tmp_path / "b")
    for path in (old, new):
        path.mkdir()
    os.utime(old, (time.time() - 90_000,) * 2)
    fetch(tmp_path, KEY, Builder())
    assert not old.exists()
    assert new.exists()


def test_a_cache_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"Pass `cache_dir` or set KERAS_VQ_CACHE .* Received: "):
        fetch(tmp_path / "file", KEY, Builder())


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_VQ_CACHE", str(tmp_path / "variable"))
    assert cache_folder(tmp_path / "argument") == tmp_path / "argument"
    assert cache_folder() == tmp_path / "variable"
    monkeypatch.delenv("KERAS_VQ_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "keras_vq"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    if sys.platform == "linux":
        assert cache_folder() == tmp_path / ".cache" / "keras_vq"


def test_cache_dir_wins_over_the_variable(tmp_path, cache_dir):
    load("digits", "test", cache_dir=tmp_path)
    assert only_entry(tmp_path).name.startswith("digits-test-")
    assert list(cache_dir.iterdir()) == []
    load("digits", "test")
    assert only_entry(cache_dir).name.startswith("digits-test-")
