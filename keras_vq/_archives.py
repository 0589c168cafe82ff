"""Checks of untrusted zip archives (`.keras` and `.npz` files) before they are unpacked."""

import json
import os
import zipfile
from collections.abc import Iterable
from typing import Any

MAX_MEMBERS = 1000
# Limit of the uncompressed size of a member: bytes, or a multiple of its compressed size.
MAX_MEMBER_BYTES = 64 * 2**20
MAX_RATIO = 20
MAX_JSON_BYTES = 4 * 2**20
MAX_JSON_DEPTH = 100

# zlib decompression is bounded by the declared size; the dictionary of LZMA is not.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1


class ArchiveError(ValueError):
    """Error for an archive that is too large, damaged, or not of the expected kind."""


def check_table(archive: zipfile.ZipFile) -> None:
    """Checks the table of contents of an archive without unpacking it.

    Args:
        archive: Open `zipfile.ZipFile`.

    Raises:
        ArchiveError: If there are too many members, names are repeated or lie outside the archive,
            members are encrypted or compressed with a method other than deflate, or sizes exceed
            the limits.
    """
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise ArchiveError(f"the archive has {len(members):,} members, more than {MAX_MEMBERS:,}")
    if len({member.filename for member in members}) < len(members):
        raise ArchiveError("a name occurs twice in the table of contents")
    for member in members:
        name = member.filename
        if os.path.isabs(name) or ".." in name.replace("\\", "/").split("/"):
            raise ArchiveError(f"the member {name!r} has a path outside the archive")
        if member.compress_type not in _COMPRESSIONS or member.flag_bits & _ENCRYPTED:
            raise ArchiveError(
                f"the member {name!r} is encrypted or has an unsupported compression"
            )
        _check_size(name, member.file_size, max(MAX_MEMBER_BYTES, MAX_RATIO * member.compress_size))
    # Also checked as a sum, because members can share their compressed bytes.
    total, stored = sum(member.file_size for member in members), _size(archive)
    _check_size("all members", total, max(MAX_MEMBER_BYTES, MAX_RATIO * stored))


def read_json(archive: zipfile.ZipFile, name: str, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Reads a JSON member, with limits on size and depth.

    Args:
        archive: Open `zipfile.ZipFile`.
        name: String. Name of the member.
        max_bytes: Integer. Maximum uncompressed size. Defaults to 4 MiB.

    Raises:
        ArchiveError: If the member is too large, too deep or not JSON.
    """
    _check_size(name, archive.getinfo(name).file_size, max_bytes)
    return parse_json(name, archive.read(name))


def parse_json(name: str, text: bytes) -> Any:
    """Parses JSON with a limit on depth.

    Args:
        name: String. Name in error messages.
        text: Bytes of UTF-8 text.

    Raises:
        ArchiveError: If the text is nested too deeply or not JSON.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ArchiveError(f"{name} is nested too deeply") from None
    except ValueError as error:
        raise ArchiveError(f"{name} is not JSON ({error})") from error
    level = [value]
    for _ in range(MAX_JSON_DEPTH):
        level = [inner for outer in level for inner in _inner(outer)]
        if not level:
            return value
    raise ArchiveError(f"{name} is nested more than {MAX_JSON_DEPTH} levels deep")


def _inner(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _check_size(name: str, size: int, limit: int) -> None:
    if size > limit:
        raise ArchiveError(f"{name} has {size:,} uncompressed bytes, more than {limit:,}")


def _size(archive: zipfile.ZipFile) -> int:
    assert archive.fp is not None
    place = archive.fp.tell()
    size = archive.fp.seek(0, os.SEEK_END)
    archive.fp.seek(place)
    return size
