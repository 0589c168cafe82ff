"""Spelling suggestions for error messages. The command line runs this file without Keras."""

import difflib
from collections.abc import Iterable


def did_you_mean(wrong: str, known: Iterable[str], most: int = 3) -> str:
    """Returns a suggestion of known names for an error message, or an empty string.

    Names that differ in case, "-" and "_" only, and options with the initials of the wrong one
    (`--bs` for `--batch-size`), are preferred to other similar names.

    Args:
        wrong: String. Received name.
        known: Iterable of strings. Valid names.
        most: Integer. Maximum number of names in the suggestion. Defaults to 3.
    """
    names = {name.lower(): name for name in sorted(known)}
    found = [name for name in names if _plain(wrong) in (_plain(name), _initials(name))]
    found = found or difflib.get_close_matches(wrong.lower(), names, n=most)
    nearest = " or ".join(repr(names[name]) for name in found[:most])
    return f" Did you mean {nearest}?" if found else ""


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def _initials(name: str) -> str | None:
    return "".join(word[:1] for word in name.split("-")) if name.startswith("--") else None
