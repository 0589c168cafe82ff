"""Ctrl-C is noticed even where Python drops it."""

import os
import signal

import pytest

from keras_vq_cli import interrupts

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
        del thing  # Python prints and drops what a destructor raises
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
    assert signal.getsignal(signal.SIGINT) is before


def test_an_old_interrupt_is_forgotten():
    with interrupts.noted(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    with interrupts.noted():
        interrupts.check()
