"""Command class, types of values, and options that several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from keras_vq_cli import console, session
from keras_vq_cli.files import shown


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """Returns a suggestion of the closest known name, or an empty string if none is close."""
    import importlib.util
    import runpy

    # Runs the file, because an import of keras_vq would import Keras, which takes seconds.
    spec = importlib.util.find_spec("keras_vq")
    assert spec is not None
    module = runpy.run_path(str(Path(str(spec.origin)).with_name("_spelling.py")))
    return module["did_you_mean"](wrong, known, most=1)


class Choice(click.Choice):
    """One of several names; errors suggest the closest one."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """Returns the error message with a suggestion."""
        hint = did_you_mean(str(value), map(str, self.choices))
        return super().get_invalid_choice_message(value, ctx) + hint


class Number(click.FloatRange):
    """Finite number in a range."""

    name = "number"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Converts text; fails on NaN and infinity."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class Integers(click.ParamType):
    """Positive integers, separated by commas, as a tuple.

    Args:
        length: Integer. Number of integers. Defaults to `None`, for any number.
    """

    def __init__(self, length: int | None = None) -> None:
        self.length = length
        self.name = ",".join("N" * length) if length else "N,N..."

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        """Converts text such as "32,64"."""
        try:
            numbers = value if isinstance(value, tuple) else tuple(map(int, value.split(",")))
        except ValueError:
            numbers = ()
        if not numbers or min(numbers) < 1 or len(numbers) != (self.length or len(numbers)):
            count = f"{self.length} " if self.length else ""
            self.fail(f"{value!r} is not {count}positive integers with commas.", param, ctx)
        return numbers


class Integer(click.IntRange):
    """Integer in a range."""

    name = "integer"


_LONGEST_METAVAR = 40
PICTURES = (".png", ".pdf", ".svg")
COUNT = Integer(min=1)
NATURAL = Integer(min=0)
POSITIVE = Number(min=0, min_open=True)
NOT_NEGATIVE = Number(min=0)


class Option(click.Option):
    """Option that is listed under a heading of the help text.

    Args:
        group: String. The heading. Defaults to "Options".
    """

    def __init__(self, *args: Any, group: str = "Options", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group
        if isinstance(self.type, Choice) and len("|".join(self.type.choices)) > _LONGEST_METAVAR:
            self.metavar = "NAME"
            text, mark, default = str(self.help).partition("  [default")
            self.help = f"{text} One of {', '.join(self.type.choices)}.{mark}{default}"


def _remember(context: click.Context, option: click.Parameter, value: Any) -> None:
    if value:
        setattr(session.current(), str(option.name), value)


def _start_log(context: click.Context, option: click.Parameter, value: Any) -> None:
    if value:
        console.log_to(value)


def _print_version(context: click.Context, option: click.Parameter, value: Any) -> None:
    if value:
        # Imported here because it takes a third of the time of --help.
        from importlib.metadata import version

        click.echo(f"keras-vq {version('keras-vq')}")
        context.exit()


def global_options() -> list[click.Parameter]:
    """Returns the options that every command accepts, before and after its name."""

    def add(*names: str, callback: Any = _remember, **settings: Any) -> click.Parameter:
        return Option(
            names, callback=callback, expose_value=False, group="Global options", **settings
        )

    return [
        add("--quiet", is_flag=True, help="Print only warnings, errors and JSON results."),
        add("--verbose", is_flag=True, help="Print messages of libraries, and stack traces."),
        add("--json", is_flag=True, help="Print results as JSON on standard output."),
        add(
            "--log-file",
            type=click.Path(dir_okay=False),
            callback=_start_log,
            help="File to which messages, warnings and errors are appended.",
        ),
        add(
            "--backend",
            type=Choice(session.BACKENDS),
            help="Keras backend.  [default: that of the run, else $KERAS_BACKEND, else the one in "
            "~/.keras/keras.json, else the first installed]",
        ),
        add(
            "--version",
            is_flag=True,
            is_eager=True,
            callback=_print_version,
            help="Print the version and exit.",
        ),
    ]


class Command(click.Command):
    """Command with the global options, help text in groups, and verbatim examples.

    Args:
        examples: String. Lines for the end of the help text, printed as they are.
    """

    def __init__(self, *args: Any, examples: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples
        self.params += global_options()

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the options under the headings of their groups."""
        format_groups(self, ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the examples."""
        _write_examples(self.examples, formatter)


def _write_examples(examples: str, formatter: click.HelpFormatter) -> None:
    if examples:
        formatter.write(f"\n{examples.strip()}\n")


@click.pass_context
def _help(context: click.Context) -> None:
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


class Group(click.Group):
    """Group of commands with the global options, which prints its help text without a command.

    Args:
        examples: String. Lines for the end of the help text, printed as they are.
    """

    command_class = Command

    def __init__(self, *args: Any, examples: str = "", **kwargs: Any) -> None:
        help_alone = {"invoke_without_command": True, "no_args_is_help": False, "callback": _help}
        super().__init__(*args, **{**kwargs, **help_alone})
        self.examples = examples
        self.params += global_options()

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Returns the command of the arguments; an error for an unknown name has a suggestion."""
        known = self.list_commands(ctx)
        if args[0] not in known:
            hint = did_you_mean(args[0], known)
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def summary(self, ctx: click.Context, name: str) -> str:
        """Returns the description of a command in the help text."""
        command = self.get_command(ctx, name)
        return "" if command is None else command.get_short_help_str(limit=80)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the commands and the global options."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, self.summary(ctx, name)) for name in self.list_commands(ctx)]
            )
        format_groups(self, ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the examples."""
        _write_examples(self.examples, formatter)


def format_groups(
    command: click.Command, context: click.Context, formatter: click.HelpFormatter
) -> None:
    """Writes the options of a command under the headings of their groups."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and isinstance(parameter, click.Option):
            # Click's own --help belongs to the global options.
            groups.setdefault(getattr(parameter, "group", "Global options"), []).append(record)
    for title, records in groups.items():
        with formatter.section(title):
            formatter.write_dl(records)


def command(examples: str = "", **settings: Any) -> Callable[[Callable[..., Any]], Command]:
    """Returns a decorator that makes a function the command of its module.

    Args:
        examples: String. Lines for the end of the help text.
        **settings: Keyword arguments of `click.Command`.
    """
    return click.command(cls=Command, examples=examples, **settings)


def group(examples: str = "", **settings: Any) -> Callable[[Callable[..., Any]], Group]:
    """Returns a decorator that makes a group of commands; its function is not called.

    Args:
        examples: String. Lines for the end of the help text.
        **settings: Keyword arguments of `click.Group`.
    """
    return click.group(cls=Group, examples=examples, **settings)


def option(*names: str, group: str = "Options", **settings: Any) -> Callable[[Any], Any]:
    """Adds an option; keyword arguments as in `click.option`."""
    return click.option(*names, cls=Option, group=group, **settings)


def out(help: str, **settings: Any) -> Callable[[Any], Any]:
    """Adds the option -o, --out with a path."""
    return option("-o", "--out", type=click.Path(path_type=Path), help=help, **settings)


batch_size = option(
    "--batch-size", type=COUNT, default=128, show_default=True, help="Number of images per batch."
)
overwrite = option("--overwrite", is_flag=True, help="Replace existing files.")
dry_run = option(
    "--dry-run",
    is_flag=True,
    help="Check arguments and files, print what would be written, and write nothing.",
)


def images(required: bool = False) -> Callable[[Any], Any]:
    """Adds image files and folders: arguments if required, else --images and --dataset."""

    def add(function: Any) -> Any:
        if required:
            function = click.argument("images", metavar="IMG...", nargs=-1, required=True)(function)
        else:
            function = option(
                "--dataset",
                metavar="NAME|FOLDER",
                help="Data set, as in keras-vq train.  [default: that of the run]",
            )(function)
            function = option(
                "--images",
                metavar="IMG",
                multiple=True,
                help="Image file or folder to use instead, may be repeated.",
            )(function)
        return image_reading(function)

    return add


def image_reading(function: Any, group: str = "Options") -> Any:
    """Adds --skip-broken and --max-pixels."""
    function = option(
        "--max-pixels",
        type=COUNT,
        group=group,
        help="Maximum number of pixels per image, checked before decoding.  [default: 33554432]",
    )(function)
    return option(
        "--skip-broken",
        is_flag=True,
        group=group,
        help="Skip unreadable files with a warning instead of stopping with an error.",
    )(function)


def check_out(out: Path, suffixes: tuple[str, ...], overwrite: bool = True) -> None:
    """Checks the file of --out, before the slow import of Keras.

    Raises:
        ValueError: If the suffix is wrong, the folder does not exist, or the file exists and is not
            to be replaced.
    """
    if out.suffix.lower() not in suffixes:
        raise ValueError(f"--out must end in {' or '.join(suffixes)}. Received: {shown(out)}")
    if not out.absolute().parent.is_dir():
        raise ValueError(f"The folder of --out must exist. Received: {shown(out)}")
    check_free(out, overwrite)


def check_folder(out: Path) -> None:
    """Raises ValueError if the folder of --out is a file."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out must be a folder. Received: the file {shown(out)}")


def check_free(path: Path, overwrite: bool) -> None:
    """Raises ValueError if a path exists and is not to be replaced."""
    if path.exists() and not overwrite:
        raise ValueError(f"{shown(path)} already exists. Pass --overwrite to replace it.")
