"""Console output: errors and progress on standard error, results on standard output."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any, TextIO

from keras_vq_cli import session
from keras_vq_cli.files import printable

_WIDEST = 10_000  # in columns, of a table
_log: TextIO | None = None

# Errors of keras_vq name Python arguments; these are the options to show instead.
_OPTION_OF_ARGUMENT = {
    "`image_size`": "--image-size H,W",
    "`skip_broken=True`": "--skip-broken",
    "`max_pixels`": "--max-pixels",
    "Pass `cache_dir` or set": "Set",
    "`overwrite=True`": "--overwrite",
    "pass the folder as `data_dir` or": "pass the folder with --data-dir or",
    "`name`": "--dataset",
    "`filepath`": "--out",
    "`folder`": "--out",
    "`input_shape`": "--input-shape",
    "`config`": "--config",
    "`source`": "The source",
    "`adapt` requires": "The k-means initialization (see --adapt, --codebook-size) requires",
}


def error(text: str) -> None:
    """Prints an error message in red."""
    for argument, option in _OPTION_OF_ARGUMENT.items():
        text = text.replace(argument, option)
    _say(f"Error: {text}", "red")


def warning(text: str) -> None:
    """Prints a warning in yellow."""
    _say(f"Warning: {text}", "yellow")


def message(text: str) -> None:
    """Prints a progress message, except with --quiet."""
    if not session.current().quiet:
        _say(text)


def result(record: Any, *shown: Any) -> None:
    """Prints the result of a command to standard output.

    Args:
        record: Value that JSON can represent: the whole result, printed with --json.
        *shown: Strings and rich tables, printed without --json and --quiet.
    """
    options = session.current()
    if options.json:
        _print(_console(), json.dumps(record, indent=2), None)
    elif not options.quiet:
        for what in shown:
            _show(what)


def plan(record: dict[str, Any], **details: Any) -> None:
    """Prints what a command would write: the result of a dry run.

    Args:
        record: Dictionary with values that JSON can represent.
        **details: Values that are printed with --json only.
    """
    result({**record, **details}, facts(record), "Nothing is written, because of --dry-run.")


def table(*columns: str, numbers: bool = False) -> Any:
    """Returns an empty rich table, whose text is never cut.

    Args:
        *columns: Strings. Headings of the columns.
        numbers: Boolean. Whether columns after the first are aligned to the right. Defaults to
            `False`.
    """
    from rich.table import Table

    table = Table()
    for place, name in enumerate(columns):
        table.add_column(name, overflow="fold", justify="right" if numbers and place else "left")
    return table


def table_of(rows: list[dict[str, Any]], /, **columns: tuple[str, str] | str) -> Any:
    """Returns a rich table of records, with columns of numbers aligned to the right.

    Args:
        rows: List of dictionaries.
        **columns: Heading of each shown key, or a tuple of heading and format of its values.
    """
    titles = {key: (each, "") if isinstance(each, str) else each for key, each in columns.items()}
    made = table(*(title for title, _ in titles.values()))
    for key, column in zip(titles, made.columns, strict=True):
        if any(isinstance(row[key], int | float | list) for row in rows):
            column.justify = "right"
    for row in rows:
        made.add_row(*(_cell(row[key], form) for key, (_, form) in titles.items()))
    return made


def _cell(value: Any, form: str) -> str:
    if isinstance(value, list):
        return " x ".join(map(str, value))
    return words(value) if isinstance(value, str) or not form else format(value, form)


def facts(record: dict[str, Any], name: str = "property") -> Any:
    """Returns a rich table with a row for each entry of a record that is not `None`.

    Entries of inner dictionaries have dotted names, such as "versions.keras".

    Args:
        record: Dictionary with numbers, strings, and lists and dictionaries of such.
        name: String. Header of the first column. Defaults to "property".
    """
    rows = [
        {"key": f"{key}.{inner}".rstrip("."), "value": words(entry)}
        for key, value in record.items()
        for inner, entry in (value if isinstance(value, dict) else {"": value}).items()
        if entry is not None
    ]
    return table_of(rows, key=name, value="value")


def words(value: Any) -> str:
    """Returns a value of a record as printable text, with rounded numbers."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{words(key)}: {words(each)}" for key, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(words, value))
    return printable(str(value))


def log_to(path: str | None) -> None:
    """Appends all further messages to a file, or ends this for `None`."""
    global _log
    if _log is not None:
        _log.close()
    _log = None if path is None else open(path, "a", encoding="utf-8")  # noqa: SIM115


def _say(text: str, style: str | None = None) -> None:
    if _log is not None:
        _log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {printable(text, kept=chr(10))}\n")
        _log.flush()
    _print(_console(stderr=True), text, style)


def _show(what: Any) -> None:
    if isinstance(what, str):
        _print(_console(), what, None)
        return
    console = _console()
    # As wide as its content, also on narrow terminals: a wrapped path can't be copied.
    unlimited = console.options.update(max_width=_WIDEST)
    console.width = max(console.width, console.measure(what, options=unlimited).maximum)
    with _silenced_when_broken(console.file):
        console.print(what)


def prepare_streams() -> None:
    """Makes the standard streams accept any text, and opens closed ones on the null device.

    Otherwise the next opened file would get the descriptor of a closed stream, and messages would
    be written to that file.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free descriptor
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def flush() -> None:
    """Flushes the standard streams.

    Raises:
        OSError: If a stream can't be written, e.g. on a full disk.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            with _silenced_when_broken(stream):
                stream.flush()


@contextlib.contextmanager
def _silenced_when_broken(stream: Any) -> Iterator[None]:
    """Redirects a stream to the null device if its pipe is broken, e.g. by `| head`."""
    try:
        yield
    except BrokenPipeError:
        _discard(stream)


def discard_output() -> None:
    """Redirects standard output to the null device, after its reader has closed the pipe."""
    _discard(sys.stdout)


def _discard(stream: Any) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _console(stderr: bool = False) -> Any:
    from rich.console import Console

    class Unbroken(Console):
        """Console that re-raises BrokenPipeError instead of exiting the process."""

        def on_broken_pipe(self) -> None:
            raise  # called while BrokenPipeError is handled

    # File names may contain text that looks like rich markup or emoji codes.
    return Unbroken(stderr=stderr, markup=False, emoji=False)


def _print(console: Any, text: str, style: str | None) -> None:
    # Messages of other packages may contain file names with control characters. Lines are not
    # wrapped, so that paths can be copied.
    text = printable(text, kept="\n\t")
    with _silenced_when_broken(console.file):
        console.print(text, style=style, highlight=False, soft_wrap=True)
