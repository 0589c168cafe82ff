"""Group of commands, dispatch and error messages of `keras-vq`.

Exit codes: 0 for success, also if a reader closes the pipe early; 1 for a failed check; 2 for an
error; 130 after Ctrl-C.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from keras_vq_cli import console, interrupts, options
from keras_vq_cli.session import Session

PROGRAM = "keras-vq"
MISTAKE = 2
INTERRUPTED = 130
_COMPLETION = "_KERAS_VQ_COMPLETE"
_COMMANDS = Path(__file__).with_name("commands")


def run(argv: Sequence[str] | None) -> int:
    """Runs the command line; see `keras_vq_cli.main.main`."""
    if argv is None:
        console.prepare_streams()
    session = Session(sys.argv[1:] if argv is None else list(argv))
    try:
        with interrupts.noted():
            try:
                code = _run(session)
                console.flush()
                return code
            except Exception:
                interrupts.check()  # a library may turn Ctrl-C into another error
                raise
    except KeyboardInterrupt as interrupt:
        # `train` attaches a message about the saved epochs.
        console.message(str(interrupt) or "Stopped.")
        return INTERRUPTED
    except click.UsageError as error:
        console.error(_usage_text(error))
        return MISTAKE
    except BrokenPipeError:
        console.discard_output()
        return 0
    except (ValueError, OSError, ImportError, MemoryError, click.ClickException) as error:
        if session.verbose:
            import traceback

            console.message(traceback.format_exc())
        console.error(_text(error))
        return MISTAKE
    finally:
        console.log_to(None)


def _run(session: Session) -> int:
    if _COMPLETION in os.environ:
        from click.shell_completion import shell_complete

        return shell_complete(commands, {}, PROGRAM, _COMPLETION, os.environ[_COMPLETION])
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            with commands.make_context(PROGRAM, session.arguments, obj=session) as context:
                return commands.invoke(context) or 0
        except click.exceptions.Exit as end:  # after --help and --version
            return end.exit_code


class Commands(options.Group):
    """Group with one command per file of `commands/`, imported only when it runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names of the commands, from the names of the files."""
        names = (path.stem for path in _COMMANDS.glob("[!_]*.py"))
        return sorted(name.replace("_", "-") for name in names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports and returns a command, or `None` for an unknown name."""
        if cmd_name not in self.list_commands(ctx):
            return None
        import importlib

        module = importlib.import_module(f"keras_vq_cli.commands.{cmd_name.replace('-', '_')}")
        module.command.name = cmd_name
        return module.command

    def summary(self, ctx: click.Context, name: str) -> str:
        """Returns the description in the first line of a command's file, without importing it."""
        with open(_COMMANDS / f"{name.replace('-', '_')}.py", encoding="utf-8") as file:
            text = file.readline().partition(": ")[2].strip().strip('"')
        return text[:1].upper() + text[1:]


commands = Commands(
    help="Trains autoencoders, VAEs and VQ-VAEs on images, reconstructs and compresses images with "
    "them, and exports them for inference without Keras.",
    examples=f"Example: {PROGRAM} train (trains a VQ-VAE on 8 x 8 digits in under a minute)",
    context_settings={"max_content_width": 100},
)


def _usage_text(error: click.UsageError) -> str:
    text = " ".join(error.format_message().split())
    text += "" if text.endswith((".", "?")) else "."
    if isinstance(error, click.NoSuchOption) and error.ctx is not None:
        known = [name for parameter in error.ctx.command.params for name in parameter.opts]
        hint = options.did_you_mean(error.option_name, [n for n in known if n.startswith("--")])
        text = f"No such option {error.option_name}.{hint}"
    path = PROGRAM if error.ctx is None else error.ctx.command_path
    return f"{text} All options: {path} --help"


def _text(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return f"Out of memory. {error}".strip()
    if error.args and isinstance(error.args[0], list):  # shutil.Error: (source, target, reason)
        return str(error.args[0][0][2])
    return str(error) or type(error).__name__


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
