"""Entry point of `keras-vq`: Ctrl-C ends the process without a traceback from here on."""

import signal
import sys


def main(argv: list[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: List of strings. Arguments without the program name. Defaults to those of the
            process.

    Returns:
        Exit code: 0 for success, 1 for a failed check, 2 for an error, 130 after Ctrl-C.
    """
    if argv is None:
        # The process belongs to the command: until errors are handled, Ctrl-C terminates it.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        # Imported here because it takes a while.
        from keras_vq_cli import command_line
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        print('keras-vq requires click. Install with: pip install "keras-vq[cli]"', file=sys.stderr)
        return 2

    return command_line.run(argv)
