"""Argument parsing, command dispatch and error messages of `keras-vq`."""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from keras_vq_cli import arguments, console, interrupts

MISTAKE = 2
INTERRUPTED = 130


def run(argv: Sequence[str] | None) -> int:
    """Runs the command line; see `keras_vq_cli.main.main`."""
    if argv is None:
        console.prepare_streams()
    args = sys.argv[1:] if argv is None else list(argv)
    debug = "--debug" in args
    try:
        with interrupts.noted():
            try:
                code = _run(args)
                console.flush()
                return code
            except Exception:
                interrupts.check()  # a library may turn Ctrl-C into another error
                raise
    except KeyboardInterrupt as interrupt:
        # `train` attaches a message about the saved epochs.
        console.message(str(interrupt) or "Stopped.")
        return INTERRUPTED
    except (ValueError, OSError, ImportError, MemoryError) as error:
        if debug:
            raise
        console.error(_text(error))
        return MISTAKE


def _run(args: list[str]) -> int:
    parser = _parser()
    try:
        given = vars(parser.parse_args(args))
    except SystemExit as error:  # argparse exits for --help, --version and errors
        return int(error.code or 0)
    run = given.pop("run", None)
    if run is None:
        parser.print_help()
        return 0
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        return run(given, args) or 0


def _text(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return f"Out of memory. {error}".strip()
    if error.args and isinstance(error.args[0], list):  # shutil.Error: (source, target, reason)
        return str(error.args[0][0][2])
    return str(error) or type(error).__name__


def _parser() -> argparse.ArgumentParser:
    # Imported here, where KeyboardInterrupt is already handled.
    from keras_vq_cli import compress, decompress, export, reconstruct, serve, train, verify

    parser = Parser(
        prog="keras-vq",
        description="Trains autoencoders, VAEs and VQ-VAEs on images, reconstructs and compresses "
        "images with them, and exports them for inference without Keras.",
        epilog="Example: keras-vq train (trains a VQ-VAE on 8 x 8 digits in under a minute)",
    )
    parser.add_argument(
        "--version",
        action=_PrintVersion,
        nargs=0,
        dest=argparse.SUPPRESS,
        default=argparse.SUPPRESS,
        help="print the version and exit",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=Parser)
    for command in (train, reconstruct, compress, decompress, export, verify, serve):
        command.add_parser(commands)
    return parser


class Parser(argparse.ArgumentParser):
    """Argument parser whose errors go to the console and suggest close names."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parses arguments; reports unknown ones as an error of the subcommand."""
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            options = self._option_string_actions
            known = [name for name in options if name.startswith("--") and name != "--help"]
            hint = arguments.did_you_mean(unknown[0].partition("=")[0], known)
            self.error(f"unrecognized arguments: {' '.join(unknown)}.{hint}")
        return parsed, unknown

    def error(self, message: str) -> Any:
        """Prints the error with a suggestion and exits with code 2."""
        choice = re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message)
        if choice:
            known = re.findall(r"[\w-]+", choice[2])
            message += f".{arguments.did_you_mean(choice[1], known)}"
        console.error(f"{message.removesuffix('.')}\nAll options: {self.prog} --help")
        raise SystemExit(MISTAKE)


class _PrintVersion(argparse.Action):
    def __call__(self, *_: Any) -> None:
        # Imported here because it takes a third of the time of --help.
        from importlib.metadata import version

        print(f"keras-vq {version('keras-vq')}")
        raise SystemExit(0)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    # Other categories, such as DeprecationWarning, are for developers.
    if issubclass(category, UserWarning):
        console.warning(str(message))
