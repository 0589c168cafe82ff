"""Tests of `keras-vq runs`, on copies of one finished run."""

import json
import os
import shutil

import pytest
from PIL import Image

from keras_vq_cli import backend, files
from keras_vq_cli.runs import read_config, read_history

pytestmark = pytest.mark.backend_free


@pytest.fixture
def folder(finished_run, tmp_path):
    """Returns a folder with the runs `first` and `nested/second`, which differ in a setting."""
    shutil.copytree(finished_run, tmp_path / "runs" / "first")
    shutil.copytree(finished_run, tmp_path / "runs" / "nested" / "second")
    change(tmp_path / "runs" / "nested" / "second", seed=7)
    os.utime(tmp_path / "runs" / "first" / "model.keras", (0, 0))
    return tmp_path / "runs"


@pytest.fixture
def without_keras(monkeypatch):
    monkeypatch.setattr(backend, "import_keras", None)


def change(folder, **values):
    files.write_yaml(folder / "config.yaml", {**read_config(folder), **values})


def listed(run, *args):
    return json.loads(run("runs", "list", "--json", *args).out)


def test_list_shows_losses_and_dates_in_order(run, folder, without_keras):
    first, second = listed(run)
    history = read_history(folder / "first" / "model.keras")
    assert first["run"] == os.path.join("runs", "first")
    assert second["run"] == os.path.join("runs", "nested", "second")
    assert (first["model"], first["dataset"], first["state"]) == ("vqvae", "digits", "finished")
    assert (first["epochs_done"], first["epochs"]) == (2, 2)
    assert (first["loss"], first["val_loss"]) == (history[-1]["loss"], history[-1]["val_loss"])
    assert first["date"][:4] in ("1969", "1970")
    lines = [line for line in run("runs", "list").out.splitlines() if "digits" in line]
    assert [line.split("│")[4].strip() for line in lines] == ["2/2", "2/2"]


def test_states_of_a_run(run, folder, without_keras):
    shutil.rmtree(folder / "nested")
    only = folder / "first"
    with files.locked(only):
        assert listed(run)[0]["state"] == "running"
    (only / "metrics.json").unlink()
    assert listed(run)[0]["state"] == "interrupted"
    (only / "model.keras").unlink()
    (record,) = listed(run)
    assert (record["state"], record["epochs_done"], record["loss"]) == ("interrupted", 0, None)
    (only / "run.json").write_text("[]")
    result = run("runs", "list")
    assert result.code == 0
    assert "damaged" in result.out
    assert "run.json must be a record" in result.err


def test_a_model_from_another_one_is_named(run, folder, without_keras):
    training = read_config(folder / "first")["training"]
    change(folder / "first", training={**training, "init_from": "/a/folder/mnist"})
    assert listed(run)[0]["model"] == "from mnist"


def test_info_shows_everything(run, folder, without_keras):
    record = json.loads(run("runs", "info", folder / "first", "--json").out)
    assert record["config"] == read_config(folder / "first")
    assert record["metrics"] == files.read_json(folder / "first" / "metrics.json")
    assert len(record["history"]) == 2
    assert record["command"].startswith("keras-vq train")
    shown = run("runs", "info", folder / "first").out
    for text in ("quantizer.codebook_size", "perplexity", "finished", "keras-vq train"):
        assert text in shown


def test_compare_shows_only_what_differs(run, folder, without_keras):
    metrics = files.read_json(folder / "first" / "metrics.json")
    files.write_json(folder / "first" / "metrics.json", {**metrics, "mse": 0.5})
    runs = (folder / "first", folder / "nested" / "second")
    record = json.loads(run("runs", "compare", *runs, "--json").out)
    assert record["differences"] == {"seed": {"first": 0, "second": 7}}
    assert record["metrics"]["mse"] == {"first": 0.5, "second": metrics["mse"]}
    assert record["metrics"]["epochs"] == {"first": 2, "second": 2}
    shown = run("runs", "compare", *runs).out
    (line,) = [line for line in shown.splitlines() if "seed" in line]
    assert [cell.strip() for cell in line.split("│")[1:-1]] == ["seed", "0", "7"]
    assert "codebook_size" not in shown


def test_compare_draws_the_curves(run, folder):
    shutil.copytree(folder / "first", folder / "other" / "first")  # an equal name and settings
    runs = (folder / "first", folder / "other" / "first")
    result = run("runs", "compare", *runs, "--out", "curves.png")
    assert result.code == 0
    assert "The settings are equal." in result.out
    assert str(runs[0]) in result.out
    with Image.open("curves.png") as image:
        assert image.width > 1000
    again = run("runs", "compare", *runs, "--out", "curves.png")
    assert (again.code, "Pass --overwrite" in again.err) == (2, True)
    assert run("runs", "compare", *runs, "--out", "curves.png", "--overwrite").code == 0


def test_a_folder_without_runs(run, tmp_path, without_keras):
    result = run("runs", "list", ".")
    assert (result.code, result.out) == (0, "")
    assert "No runs in ." in result.err
    assert listed(run, ".") == []


def test_runs_without_an_epoch_have_no_picture(run, folder, without_keras):
    runs = (folder / "first", folder / "nested" / "second")
    for each in runs:
        (each / "model.keras").unlink()
    result = run("runs", "compare", *runs, "--out", "a.png")
    assert result.code == 2
    assert "No run has completed an epoch" in result.err
