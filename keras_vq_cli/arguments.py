"""Shared options, argument types and spelling suggestions of the command line."""

from __future__ import annotations

import argparse
import importlib.util
import math
import runpy
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from keras_vq_cli.backend import BACKENDS

Run = Callable[[dict[str, Any], list[str]], int | None]


def add_command(commands: Any, name: str, run: Run, **texts: str) -> argparse.ArgumentParser:
    """Adds a command to the command line.

    Args:
        commands: The object returned by argparse's `add_subparsers`.
        name: String. Name of the command.
        run: Callable that runs the command. It takes a dict of the given options and the list of
            raw arguments, and returns an exit code or `None` for 0.
        **texts: `help`, `description` and `epilog` of the command.

    Returns:
        The parser of the command. Its namespace has no attributes for options that are not given.
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
    """Adds the option --backend; `default` describes the default in the help."""
    group.add_argument("--backend", choices=BACKENDS, help=f"Keras backend (default: {default})")


def add_image_options(group: Any) -> None:
    """Adds the options --skip-broken and --max-pixels."""
    group.add_argument(
        "--skip-broken",
        action="store_true",
        help="skip unreadable files with a warning (default: stop with an error)",
    )
    group.add_argument(
        "--max-pixels",
        type=positive_integer,
        metavar="N",
        help="maximum number of pixels per image, checked before decoding (default: 33554432)",
    )


def image_options(given: dict[str, Any]) -> dict[str, Any]:
    """Returns the given ones of --skip-broken and --max-pixels as keyword arguments."""
    return {name: given[name] for name in ("skip_broken", "max_pixels") if name in given}


def add_debug(group: Any) -> None:
    """Adds the option --debug."""
    group.add_argument("--debug", action="store_true", help="show the stack trace of errors")


def positive_integer(text: str) -> int:
    """Parses an integer of at least 1."""
    return _integer(text, 1)


def not_negative_integer(text: str) -> int:
    """Parses an integer of at least 0."""
    return _integer(text, 0)


def positive_number(text: str) -> float:
    """Parses a finite number above 0."""
    number = _number(text)
    if not (math.isfinite(number) and number > 0):
        raise argparse.ArgumentTypeError(f"expected a positive number, received {text!r}")
    return number


def not_negative_number(text: str) -> float:
    """Parses a finite number of at least 0."""
    number = _number(text)
    if not (math.isfinite(number) and number >= 0):
        raise argparse.ArgumentTypeError(f"expected a non-negative number, received {text!r}")
    return number


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """Returns a suggestion of the closest known name, or an empty string if none is close."""
    # Runs the file, because an import of keras_vq would import Keras, which takes seconds.
    spec = importlib.util.find_spec("keras_vq")
    assert spec is not None
    module = runpy.run_path(str(Path(str(spec.origin)).with_name("_spelling.py")))
    return module["did_you_mean"](wrong, known, most=1)


def _integer(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(
            f"expected an integer of at least {least}, received {text!r}"
        )
    return number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, received {text!r}") from None
