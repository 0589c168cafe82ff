import errno
import os

import pytest

from keras_vq._files import is_unfinished, unfinished_path, whole_file
from keras_vq.export.staging import staged

pytestmark = pytest.mark.backend_free


def test_a_file_of_the_longest_name_is_written(tmp_path):
    path = tmp_path / ("x" * 251 + ".txt")
    with whole_file(path) as beside:
        assert beside.parent == tmp_path
        assert beside.suffix == ".txt"
        beside.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert os.listdir(tmp_path) == [path.name]


def test_temporary_names_are_short_and_differ(tmp_path):
    paths = [unfinished_path(tmp_path / f"a.{'b' * 200}") for _ in range(20)]
    assert len(set(paths)) == 20
    assert all(len(path.name) < 64 and is_unfinished(path) for path in paths)
    assert not is_unfinished(tmp_path / ".hidden.tmp")


@pytest.mark.parametrize("old", [None, "old"])
def test_an_error_leaves_what_was_there(tmp_path, old):
    path = tmp_path / "a.txt"
    if old:
        path.write_text(old)

    def fail_halfway():
        with whole_file(path) as beside:
            beside.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_halfway()
    assert [p.read_text() for p in tmp_path.iterdir()] == ([old] if old else [])


def test_a_full_disk_is_named(tmp_path):
    def fill():
        with whole_file(tmp_path / "a.txt"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match=r"No space left on device: '.*a.txt'$"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_errors_of_the_file_system_name_the_file_and_not_the_temporary_one(tmp_path):
    path = tmp_path / "none" / "a.txt"
    with pytest.raises(OSError, match="No such file") as caught, whole_file(path) as beside:
        beside.write_text("x")
    assert caught.value.filename == str(path)
    assert caught.value.errno == errno.ENOENT
    target = tmp_path / "folder"
    (target / "inner").mkdir(parents=True)
    with pytest.raises(OSError, match="irectory") as caught, whole_file(target) as beside:
        beside.write_text("x")
    assert caught.value.filename == str(target)
    assert str(caught.value).count(str(tmp_path)) == 1


def test_errors_inside_a_folder_name_the_folder_and_no_temporary_one(tmp_path):
    target, other = tmp_path / "m", tmp_path / "other"
    with pytest.raises(FileNotFoundError) as caught, staged(target) as beside:
        (beside / "none" / "encode.onnx").write_bytes(b"")
    assert str(caught.value).endswith(f": {str(target)!r}")
    with pytest.raises(FileNotFoundError) as caught, staged(target):
        other.read_bytes()
    assert caught.value.filename == str(other)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_another_process_made_meanwhile_stays(tmp_path):
    def write():
        with staged(tmp_path / "m") as beside:
            beside.mkdir()
            (tmp_path / "m" / "of another").mkdir(parents=True)

    with pytest.raises(FileExistsError, match=r"created the path during the export: '.*m'$"):
        write()
    assert [path.name for path in tmp_path.rglob("*")] == ["m", "of another"]


@pytest.mark.parametrize("write", [whole_file, staged])
def test_a_read_only_disk_is_named_by_the_target(tmp_path, monkeypatch, write):
    def refuse(path, *_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    for name in ("mkdir", "unlink"):  # Linux refuses to remove what is not there, too
        monkeypatch.setattr(f"os.{name}", refuse)
    with (
        pytest.raises(OSError, match=r"Read-only file system: '.*/m'$"),
        write(tmp_path / "m") as b,
    ):
        b.mkdir()


def test_a_full_disk_is_an_error_of_the_file(tmp_path):
    """Errors of writes to open files do not contain the file name."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(OSError, match=r"a\.txt") as raised, whole_file(tmp_path / "a.txt"):
        raise full
    assert raised.value is full
    assert not list(tmp_path.iterdir())
