"""Tests that Ctrl-C stops commands even where Python discards KeyboardInterrupt."""

import contextlib
import signal
import subprocess
import sys

import pytest

from keras_vq_cli import backend, interrupts

pytestmark = pytest.mark.backend_free


class Destroyed:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)


def test_an_interrupt_in_a_destructor_is_raised_at_the_next_check():
    before = signal.getsignal(signal.SIGINT)
    with interrupts.noted():
        interrupts.check()
        thing = Destroyed()
        del thing  # Python prints and discards exceptions of destructors
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
    assert signal.getsignal(signal.SIGINT) is before


def test_an_old_interrupt_is_forgotten():
    with interrupts.noted(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    with interrupts.noted():
        interrupts.check()


@pytest.mark.parametrize(
    "command",
    [
        ["train", "--out", "new"],
        ["reconstruct", "vqvae_mnist", "a.png"],
        ["compress", "a.png", "-o", "a.kvq"],
        ["export", "vqvae_mnist", "--out", "new"],
        ["verify", "a.png", "--model", "vqvae_mnist"],
    ],
    ids=lambda command: command[0],
)
@pytest.mark.parametrize("becomes", [KeyboardInterrupt, ValueError, SystemError])
def test_every_command_stops_without_a_trace(run, tmp_path, monkeypatch, command, becomes):
    """Includes libraries that replace KeyboardInterrupt with another exception."""

    def interrupted(*args, **kwargs):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            if becomes is KeyboardInterrupt:
                raise
        raise becomes("of a library")

    (tmp_path / "a.png").write_bytes(b"")
    monkeypatch.setattr(backend, "import_keras", interrupted)
    result = run(*command)
    assert result.code == 130
    assert "Stopped" in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_an_interrupt_that_an_import_drops_is_raised_after_it(environment):
    with interrupts.noted():
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            backend.import_keras()


# Ctrl-C when a module is looked for, in a process whose Ctrl-C is not ignored.
STOPPED_AT_AN_IMPORT = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
module, *sys.argv[1:] = sys.argv[1:]

class Stop:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            print("asked", flush=True)
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Stop())
from keras_vq_cli.main import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("keras_vq_cli.command_line", -signal.SIGINT),
        ("keras_vq_cli.console", -signal.SIGINT),
        ("keras_vq_cli.commands.train", 130),
        ("keras_vq", -signal.SIGINT),
    ],
)
def test_imports_stop_without_a_trace(environment, tmp_path, module, code):
    """An exception inside the import of a backend's native code can crash it."""
    command = ["train", "--quiet", "--out", "new"]
    done = subprocess.run(
        [sys.executable, "-c", STOPPED_AT_AN_IMPORT, module, *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (code, "asked\n")
    assert done.stderr == ("Stopped.\n" if code == 130 else "")
    assert not list(tmp_path.iterdir())


def test_imports_take_the_handler_from_before():
    seen = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append("before"))
    try:
        with interrupts.suspended():  # nothing to suspend
            signal.raise_signal(signal.SIGINT)
        with interrupts.noted():
            with interrupts.suspended():
                signal.raise_signal(signal.SIGINT)
            interrupts.check()
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert seen == ["before", "before"]
    finally:
        signal.signal(signal.SIGINT, before)
