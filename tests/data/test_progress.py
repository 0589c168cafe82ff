"""Tests that a progress bar is shown only for long operations."""

import numpy as np
import PIL.Image
import pytest

from keras_vq.data import load, progress

pytestmark = pytest.mark.backend_free


def bar_output(capsys, seconds, show=True):
    with progress.ProgressBar("Working", 2, show=show) as bar:
        bar._start -= seconds
        bar.advance(1)
        bar.advance(1)
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def test_shown_after_two_seconds(capsys):
    assert progress.SECONDS_BEFORE_SHOWN == 2
    assert "Working" in bar_output(capsys, 2)


def test_not_shown_before(capsys):
    assert bar_output(capsys, 1) == ""


def test_not_shown_if_not_wanted(capsys):
    assert bar_output(capsys, 2, show=False) == ""


def test_load_shows_it_while_decoding_and_nothing_when_cached(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS_BEFORE_SHOWN", 0)
    (tmp_path / "train").mkdir()
    PIL.Image.fromarray(np.zeros((2, 2), "uint8")).save(tmp_path / "train" / "a.png")
    load(tmp_path)
    assert "Decoding images" in capsys.readouterr().err
    load(tmp_path)
    assert capsys.readouterr() == ("", "")
    load(tmp_path, image_size=(1, 1), progress=False)
    assert capsys.readouterr() == ("", "")
