"""What the command says: errors and progress on standard error, results on standard output."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any

from keras_vq_cli.files import printable

_WIDEST = 10_000  # columns of a table

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
        return
    console = _console()
    # As wide as its content, on narrow terminals too: a path that is broken can't be copied.
    unlimited = console.options.update(max_width=_WIDEST)
    console.width = max(console.width, console.measure(what, options=unlimited).maximum)
    with _silenced_when_broken(console.file):
        console.print(what)


def prepare_streams() -> None:
    """Makes the standard streams of this process take any text, and be open.

    A closed one would be replaced by the next file that is opened, into which messages would go.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def flush() -> None:
    """Writes what is left of the standard streams.

    Raises:
        OSError: If standard output can't be written, as on a full disk.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            with _silenced_when_broken(stream):
                stream.flush()


@contextlib.contextmanager
def _silenced_when_broken(stream: Any) -> Iterator[None]:
    """Sends what follows nowhere once the reader of a stream is gone, as that of `| head` is."""
    try:
        yield
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _console(stderr: bool = False) -> Any:
    from rich.console import Console

    class Unbroken(Console):
        """A console that does not end the process when its reader is gone."""

        def on_broken_pipe(self) -> None:
            raise  # the BrokenPipeError that is being handled

    # Names of files in tables are no markup and no emoji, as in messages.
    return Unbroken(stderr=stderr, markup=False, emoji=False)


def _print(console: Any, text: str, style: str | None) -> None:
    # Paths are copied more easily when no line is broken. Texts of other packages have names of
    # files in them too, with whatever characters these have.
    text = printable(text, kept="\n\t")
    with _silenced_when_broken(console.file):
        console.print(text, style=style, highlight=False, soft_wrap=True)
