"""What the command says: errors and progress on standard error, results on standard output."""

from __future__ import annotations

from typing import Any

# The library speaks of its arguments, a user of the command knows options.
_OPTION_OF_ARGUMENT = {
    "image_size=(h, w)": "--image-size H W",
    "skip_broken=True": "--skip-broken",
    "raise max_pixels": "raise --max-pixels",
    "Pass cache_dir= or set": "Set",
    "pass overwrite=True to replace it": "--overwrite replaces it",
    "pass that folder as data_dir= or": "pass that folder by --data-dir or",
    "`adapt` needs": "The k-means start of the codes (see --start, --codebook-size) needs",
}


def error(text: str) -> None:
    """Prints what went wrong, in red."""
    for argument, option in _OPTION_OF_ARGUMENT.items():
        text = text.replace(argument, option)
    _print(_console(stderr=True), f"Error: {text}", "red")


def warning(text: str) -> None:
    """Prints a warning, in yellow."""
    _print(_console(stderr=True), f"Warning: {text}", "yellow")


def message(text: str) -> None:
    """Prints what is going on."""
    _print(_console(stderr=True), text, None)


def result(what: Any) -> None:
    """Prints text or a table that the user asked for."""
    if isinstance(what, str):
        _print(_console(), what, None)
    else:
        _console().print(what)


def _console(stderr: bool = False) -> Any:
    from rich.console import Console

    return Console(stderr=stderr)


def _print(console: Any, text: str, style: str | None) -> None:
    # Paths in messages are no markup, and are copied more easily when no line is broken.
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
