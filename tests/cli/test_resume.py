"""Tests that interrupted and killed runs resume with the same result as uninterrupted ones."""

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest

import keras_vq
from keras_vq_cli import building, checkpoints
from keras_vq_cli.runs import read_config, read_record
from tests.cli.tiny_run import TINY, TINY_CODES

VAE = ["--model", "vae", "--network", "dense", *TINY, "--kl-warmup-steps", "10"]
# Enable SIGINT, which shells ignore in background processes.
START = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from keras_vq_cli.main import main; sys.exit(main(sys.argv[1:]))"
)


def terms(folder):
    """Returns the rows of history.csv without the time, which differs between runs."""
    with open(folder / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: float(row[name]) for name in row if name != "seconds"} for row in rows]


def figures_of(folder):
    figures = json.loads((folder / "metrics.json").read_text())
    return {k: v for k, v in figures.items() if v is not None and k != "train_seconds"}


def assert_same_run(one, other):
    assert len(terms(one)) == len(terms(other))
    for have, want in zip(terms(one), terms(other), strict=True):
        assert have == pytest.approx(want, rel=1e-3, abs=1e-5)
    assert figures_of(one) == pytest.approx(figures_of(other), rel=1e-3)
    models = [checkpoints.load(folder / "model.keras")[0] for folder in (one, other)]
    for have, want in zip(*(model.variables for model in models), strict=True):
        np.testing.assert_allclose(np.asarray(have), np.asarray(want), rtol=1e-2, atol=1e-4)


def start(folder, *options):
    return subprocess.Popen(
        [sys.executable, "-c", START, "train", *options, "--out", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_epochs(process, folder, epochs):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        table = folder / "history.csv"
        if table.exists() and len(table.read_text().splitlines()) > epochs:
            return
        time.sleep(0.01)
    raise AssertionError(f"no epoch in time: {process.communicate(timeout=10)}")


def test_resumed_equals_uninterrupted(run, tmp_path):
    """Uses a VAE, whose samples depend on the seed generator; below, a VQ-VAE is killed."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run("train", *VAE, "--epochs", 4, "--out", whole).code == 0
    assert run("train", *VAE, "--epochs", 2, "--out", parts).code == 0
    result = run("train", "--resume", "--epochs", 4, "--out", parts)
    assert result.code == 0
    assert "Resuming after epoch 2." in result.err
    assert_same_run(parts, whole)
    record = read_record(parts)
    assert read_config(parts)["training"]["epochs"] == 4
    assert record["command"].endswith(f"--epochs 2 --out {parts}")
    assert record["resumed_by"] == [f"keras-vq train --resume --epochs 4 --out {parts}"]


def test_random_states_are_part_of_a_checkpoint(tmp_path):
    encoder, decoder = keras_vq.networks.dense(
        (8, 8, 1), units=(8,), latent_dim=None, output_activation="sigmoid"
    )
    model = keras_vq.VAE(encoder, decoder, latent_dim=2, seed=3)
    model.compile("adam")
    images = np.random.default_rng(0).random((8, 8, 8, 1), "float32")
    model.fit(images, epochs=1, verbose=0)
    checkpoints.save(model, [], tmp_path / "model.keras")
    loaded, _ = checkpoints.load(tmp_path / "model.keras")
    states = [
        [np.asarray(v).tolist() for v in each.variables if v.name == "seed_generator_state"]
        for each in (model, loaded)
    ]
    assert states[0] == states[1]
    assert states[0][0][1] > 0


@pytest.mark.backend_free
def test_killed_then_resumed(run, tmp_path):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = start(killed, *TINY_CODES, "--epochs", "10000")
    wait_for_epochs(process, killed, 2)
    process.kill()
    process.communicate()
    done = checkpoints.finished_epochs(killed / "model.keras")
    assert done >= 2
    # State after a kill during a write, and after one between two writes.
    (killed / ".keras_vq_unfinished_0.keras").write_bytes(b"half")
    table = (killed / "history.csv").read_text().splitlines()[: done - 1]
    (killed / "history.csv").write_text("\n".join(table) + "\n")

    assert run("train", "--resume", "--epochs", done + 2, "--out", killed).code == 0
    assert run("train", *TINY_CODES, "--epochs", done + 2, "--out", whole).code == 0
    assert_same_run(killed, whole)
    assert {path.name for path in killed.iterdir()} == {path.name for path in whole.iterdir()}


@pytest.mark.backend_free
def test_ctrl_c_keeps_what_is_done(environment, tmp_path):
    folder = tmp_path / "a run"
    process = start(folder, *VAE, "--epochs", "10000")
    wait_for_epochs(process, folder, 1)
    process.send_signal(signal.SIGINT)
    try:
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in err
    done = checkpoints.finished_epochs(folder / "model.keras")
    epochs = "epochs" if done > 1 else "epoch"
    assert f"Stopped. Saved {done} {epochs} in {folder}" in err
    assert f"keras-vq train --resume --out '{folder}'" in err
    assert not list(folder.glob(".*"))


@pytest.mark.backend_free
def test_ctrl_c_before_the_first_epoch(run, tmp_path, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("keras_vq.data.load", interrupt)
        result = run("train", *TINY_CODES, "--out", "new")
    assert result.code == 130
    assert "No files were written" in result.err
    with monkeypatch.context() as patched:
        patched.setattr("keras_vq_cli.building.initialize_codebook", interrupt)
        result = run("train", *TINY_CODES, "--epochs", 1, "--out", "new")
    assert result.code == 130
    assert "No epoch was completed" in result.err
    assert run("train", "--resume", "--out", "new", "--quiet").code == 0
    assert len(terms(tmp_path / "new")) == 1


HOLD = """
import sys, time
from pathlib import Path
from keras_vq_cli import files
with files.locked(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(600)
"""


@pytest.mark.backend_free
@pytest.mark.skipif(sys.platform == "win32", reason="locks of folders")
def test_a_folder_has_one_run_at_a_time(run, finished_run, tmp_path):
    """Holds for new and resumed runs; the lock of a killed process is released."""
    new, old = tmp_path / "new", tmp_path / "old"
    new.mkdir()
    shutil.copytree(finished_run, old)
    train = ("train", *TINY_CODES, "--epochs", 1, "--quiet", "--out", new)
    resume = ("train", "--resume", "--quiet", "--epochs", 3, "--out", old)
    for folder, command in ((new, train), (old, resume)):
        before = sorted(folder.iterdir())
        arguments = [sys.executable, "-c", HOLD, str(folder)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "locked\n"
            result = run(*command)
            assert result.code == 2
            assert result.err == (
                f"Error: Another keras-vq train process is writing to {folder}. Wait until it "
                "ends, or choose another --out.\n"
            )
            assert sorted(folder.iterdir()) == before
            process.kill()
        assert run(*command).code == 0
    assert (len(terms(new)), len(terms(old))) == (1, 3)


@pytest.mark.backend_free
def test_a_run_that_began_meanwhile_is_not_overwritten(run, tmp_path, monkeypatch):
    load = building.load_images

    def load_while_another_begins(*args, **kwargs):
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "config.yaml").write_text("of another run")
        return load(*args, **kwargs)

    monkeypatch.setattr(building, "load_images", load_while_another_begins)
    result = run("train", *TINY_CODES, "--epochs", 1, "--quiet", "--out", "new")
    assert result.code == 2
    assert "not empty" in result.err
    assert [path.read_text() for path in (tmp_path / "new").iterdir()] == ["of another run"]


@pytest.mark.backend_free
def test_a_finished_run_says_so(run, finished_run):
    before = {path: path.stat().st_mtime_ns for path in finished_run.iterdir()}
    result = run("train", "--resume", "--out", finished_run)
    assert result.code == 0
    assert "is complete after 2 epochs" in result.err
    assert {path: path.stat().st_mtime_ns for path in finished_run.iterdir()} == before


@pytest.mark.backend_free
def test_results_that_are_missing_are_made(run, finished_run, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished_run, folder)
    figures = figures_of(folder)
    (folder / "metrics.json").unlink()
    (folder / "reconstructions.png").unlink()
    assert run("train", "--resume", "--out", folder, "--quiet").code == 0
    assert figures_of(folder) == pytest.approx(figures, rel=1e-4)
    assert (folder / "reconstructions.png").exists()
    assert terms(folder) == terms(finished_run)


@pytest.mark.backend_free
def test_what_can_not_be_resumed(run, finished_run, tmp_path):
    def refused(change, *options):
        folder = tmp_path / change.__name__
        shutil.copytree(finished_run, folder)
        change(folder)
        result = run("train", "--resume", "--out", folder, *options)
        assert result.code == 2
        return result.err

    def fewer_epochs(folder):
        pass

    def damaged_model(folder):
        whole = (folder / "model.keras").read_bytes()
        (folder / "model.keras").write_bytes(whole[: len(whole) // 2])

    def damaged_config(folder):
        (folder / "config.yaml").write_text("{")

    def foreign_model(folder):
        keras_vq.load_model(folder / "model.keras").save(folder / "model.keras")

    def other_images(folder):
        record = {**read_record(folder), "train_images": 95}
        (folder / "run.json").write_text(json.dumps(record))

    assert "must be at least 2, the number of completed epochs" in refused(
        fewer_epochs, "--epochs", 1
    )
    assert "not a complete" in refused(damaged_model)
    assert "not valid YAML" in refused(damaged_config)
    assert "must be a checkpoint of keras-vq train" in refused(foreign_model)
    assert "training images have changed" in refused(other_images)


@pytest.mark.backend_free
@pytest.mark.parametrize(
    "content",
    [b"[" * 100_000, b"{}", b"null", b'{"history": [1]}', b'{"history": [{"epoch": 1}]}', None],
)
def test_histories_of_strangers(tmp_path, content):
    path = tmp_path / "model.keras"
    path.write_bytes(b"no archive")
    if content is not None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("training.json", content)
    with pytest.raises(ValueError, match=r"without a valid training\.json"):
        checkpoints.finished_epochs(path)
