"""Options that all commands have, types of arguments, and suggestions for names that are wrong."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable
from typing import Any

from keras_vq_cli.backend import BACKENDS

Run = Callable[[dict[str, Any], list[str]], int | None]


def add_command(commands: Any, name: str, run: Run, **texts: str) -> argparse.ArgumentParser:
    """Adds a command to the command line.

    Args:
        commands: What argparse's `add_subparsers` gave.
        name: The command's name.
        run: What it does; takes the options that were given, by name, and what was typed.
        **texts: Its `help`, `description` and `epilog`.

    Returns:
        Its parser, of which options that were not given are absent.
    """
    parser = commands.add_parser(
        name,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        **texts,
    )
    parser.set_defaults(run=run)
    return parser


def add_backend(group: Any, default: str) -> None:
    """Adds the option --backend, whose help says what is taken without it."""
    group.add_argument(
        "--backend", choices=BACKENDS, help=f"what Keras runs on (default: {default})"
    )


def add_image_options(group: Any) -> None:
    """Adds the options --skip-broken and --max-pixels."""
    group.add_argument(
        "--skip-broken",
        action="store_true",
        help="leave out files that can't be read instead of stopping (default: stop)",
    )
    group.add_argument(
        "--max-pixels",
        type=positive_integer,
        metavar="N",
        help="refuse images of more pixels, before they are decoded (default: 33554432)",
    )


def image_options(given: dict[str, Any]) -> dict[str, Any]:
    """Returns those two as keyword arguments, without those that were not given."""
    return {name: given[name] for name in ("skip_broken", "max_pixels") if name in given}


def add_debug(group: Any) -> None:
    """Adds the option --debug."""
    group.add_argument("--debug", action="store_true", help="show the stack trace of an error")


def positive_integer(text: str) -> int:
    """A whole number of at least 1."""
    return _integer(text, 1)


def not_negative_integer(text: str) -> int:
    """A whole number of at least 0."""
    return _integer(text, 0)


def positive_number(text: str) -> float:
    """A finite number above 0."""
    number = _number(text)
    if not (math.isfinite(number) and number > 0):
        raise argparse.ArgumentTypeError(f"expected a number above 0, received {text!r}")
    return number


def not_negative_number(text: str) -> float:
    """A finite number of at least 0."""
    number = _number(text)
    if not (math.isfinite(number) and number >= 0):
        raise argparse.ArgumentTypeError(f"expected a number of at least 0, received {text!r}")
    return number


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """Returns a question that names the known name nearest to a wrong one, or an empty string."""
    from difflib import get_close_matches  # here: `--help` does without

    names = list(known)
    by_initials = [name for name in names if _initials(name) == wrong.strip("-")]
    found = by_initials or get_close_matches(wrong, names, 1)
    return f" Did you mean {found[0]}?" if found else ""


def _initials(option: str) -> str:
    return "".join(word[0] for word in option.split("-") if word)


def _integer(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(
            f"expected a whole number of at least {least}, received {text!r}"
        )
    return number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, received {text!r}") from None
