"""Tests of features that do not import Keras: help, version, errors, backend selection."""

import importlib.metadata
import re
import subprocess
import sys
import warnings
from pathlib import Path

import keras
import pytest

import keras_vq
from keras_vq_cli import backend
from keras_vq_cli.command_line import commands
from keras_vq_cli.commands import verify
from keras_vq_cli.main import main
from keras_vq_cli.options import global_options

pytestmark = pytest.mark.backend_free


@pytest.mark.parametrize(
    "args", [["--help"], ["--version"], [], ["train", "--help"], ["reconstruct", "--help"]]
)
def test_help_and_version_load_nothing_slow(environment, args):
    command = [sys.executable, "-X", "importtime", "-m", "keras_vq_cli", *args]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "keras-vq" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "keras_vq_cli.main" in imported
    assert not imported & {"keras", "keras_vq", "numpy", "rich", "matplotlib"}


def test_the_entry_point_is_this_main():
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name="keras-vq")
    assert entry.load() is main


def test_help_names_every_option_with_its_default(run):
    text = " ".join(run("train", "--help").out.split())
    for option in ("--epochs", "--limit", "--image-size", "--kl-warmup-steps", "--resume"):
        assert option in text
    assert text.count("[default: ") == 29
    assert "keras-vq train --resume --out" in text


def test_decompress_refuses_another_file_before_keras_starts(run, tmp_path, monkeypatch):
    (tmp_path / "photo.png").write_bytes(b"\x89PNG")
    monkeypatch.setattr(backend, "import_keras", None)
    result = run("decompress", "photo.png")
    assert result.code == 2
    assert "must be a .kvq file" in result.err
    assert "photo.png, which begins with b'\\x89PN'" in result.err


def test_warnings_for_users_are_shown_also_of_subclasses(run, monkeypatch):
    def warn(**_):
        warnings.simplefilter("always")
        warnings.warn("of the base", UserWarning, stacklevel=1)
        warnings.warn("of a codebook", keras_vq.callbacks.CollapseWarning, stacklevel=1)
        warnings.warn("of a function", DeprecationWarning, stacklevel=1)

    monkeypatch.setattr(verify.command, "callback", warn)
    result = run("verify", "a")
    assert result.code == 0
    assert result.err == "Warning: of the base\nWarning: of a codebook\n"


def test_a_mistake_in_a_process_of_its_own(environment, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "keras_vq_cli", "train", "--beta", "2"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("Error: --beta")
    assert list(tmp_path.iterdir()) == []


def test_verbose_shows_where_an_error_comes_from(environment, capsys):
    assert main(["--verbose", "train", "--beta", "2"]) == 2
    trace, _, last = capsys.readouterr().err.strip().rpartition("\n")
    assert trace.startswith("Traceback")
    assert last == "Error: --beta requires --model vae. Received: --model vqvae"


def test_keras_on_another_backend_is_noticed(environment):
    other = "jax" if keras.config.backend() != "jax" else "torch"
    with pytest.raises(ValueError, match="already running"):
        backend.import_keras(other)


def test_global_options_stand_before_or_after_the_command(run, tmp_path):
    wrong = ("train", "--beta", "2")
    for command in (("--log-file", "a.log", *wrong), (*wrong, "--log-file", "a.log")):
        assert run(*command).code == 2
    lines = (tmp_path / "a.log").read_text().splitlines()
    assert [line[20:] for line in lines] == 2 * [
        "Error: --beta requires --model vae. Received: --model vqvae"
    ]


def test_shell_completion(environment):
    words = {"COMP_WORDS": "keras-vq tr", "COMP_CWORD": "1", "_KERAS_VQ_COMPLETE": "bash_complete"}
    done = subprocess.run(
        [sys.executable, "-m", "keras_vq_cli"],
        env={**environment, **words},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["plain,train"]


def test_the_documentation_lists_every_command_and_global_option():
    page = (Path(__file__).parents[2] / "docs" / "command_line.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    listed = {name for row in rows for name in re.findall(r"`(?:--)?([\w-]+)", row)}
    options = {option.opts[-1].removeprefix("--") for option in global_options()}
    assert listed == set(commands.list_commands(None)) | options


def test_the_command_starts_fast(environment):
    """Allows for a slow machine: about 0.1 s of processor time are usual."""
    program = (
        "import resource, subprocess, sys; subprocess.run([sys.executable, '-m', "
        "'keras_vq_cli', '--help'], capture_output=True, check=True); "
        "used = resource.getrusage(resource.RUSAGE_CHILDREN); print(used.ru_utime + used.ru_stime)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 0.5
