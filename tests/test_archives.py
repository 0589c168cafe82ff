"""Tests of checks on `.npz` arrays before their allocation."""

import io
import zipfile

import numpy as np
import pytest

from keras_vq import _archives

pytestmark = pytest.mark.backend_free


def archive_of(header, data=b"", version=(1, 0)):
    member = io.BytesIO()
    text = repr(header).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    member.write(b"\x93NUMPY" + bytes(version) + len(text).to_bytes(2, "little") + text + data)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.npy", member.getvalue())
    return file


def header(shape, descr="<f8"):
    return {"descr": descr, "fortran_order": False, "shape": shape}


def test_arrays():
    file = io.BytesIO()
    arrays = {"a": np.arange(6).reshape(2, 3), "b": np.array("text"), "c": np.zeros((0, 3))}
    np.savez_compressed(file, **arrays)
    read = _archives.read_arrays(file, arrays)
    assert list(read) == ["a", "b", "c"]
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype == array.dtype


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (archive_of(header((10**12,))), r"a.npy would take 8,000,000,000,000 bytes, more than"),
        (archive_of(header((2**33, 2**33, 0, 2**62))), "damaged|would take"),
        (archive_of(header((1,), "|O"), b"\x80\x04N."), "a.npy holds Python objects"),
        (archive_of(header((1,)), bytes(8), (3, 0)), "a.npy is of an unknown version"),
        (archive_of(header((-1,)), bytes(8)), r"it is damaged \("),
        (archive_of({"shape": (1,)}), r"it is damaged \("),
        (archive_of(header((2,)), bytes(8)), "it is damaged|would take"),
        (io.BytesIO(b"PK\x05\x06" + bytes(18)), "it has no a.npy"),
        (io.BytesIO(b"nothing"), r"it is damaged \(File is not a zip file\)"),
    ],
)
def test_what_is_not_read(file, message):
    with pytest.raises(_archives.ArchiveError, match=message):
        _archives.read_arrays(file, ["a"])


def test_members_that_unpack_to_much():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(65 << 20))
    with pytest.raises(_archives.ArchiveError, match=r"a.npy would take 68,157,440 bytes"):
        _archives.read_arrays(file, ["a"])
