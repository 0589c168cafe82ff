"""Tests that Ctrl-C stops commands even where Python discards KeyboardInterrupt."""

import contextlib
import os
import signal

import pytest

from keras_vq_cli import backend, codecs, export, interrupts, reconstruct, train, verify

pytestmark = pytest.mark.backend_free


class Destroyed:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
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
        os.kill(os.getpid(), signal.SIGINT)
    with interrupts.noted():
        interrupts.check()


@pytest.mark.parametrize(
    ("module", "command"),
    [
        (train, ["train", "--out", "new"]),
        (reconstruct, ["reconstruct", "vqvae_mnist", "a.png"]),
        (codecs, ["compress", "a.png", "-o", "a.kvq"]),
        (export, ["export", "vqvae_mnist", "--out", "new"]),
        (verify, ["verify", "a.png", "--model", "vqvae_mnist"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
@pytest.mark.parametrize("becomes", [KeyboardInterrupt, ValueError, SystemError])
def test_every_command_stops_without_a_trace(run, tmp_path, monkeypatch, module, command, becomes):
    """Includes libraries that replace KeyboardInterrupt with another exception."""

    def interrupted(*args, **kwargs):
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            if becomes is KeyboardInterrupt:
                raise
        raise becomes("of a library")

    (tmp_path / "a.png").write_bytes(b"")
    monkeypatch.setattr(module, "import_keras", interrupted)
    result = run(*command)
    assert result.code == 130
    assert "Stopped" in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_an_interrupt_that_an_import_drops_is_raised_after_it(environment):
    with interrupts.noted():
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            backend.import_keras()
