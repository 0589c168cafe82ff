"""Tests that commands import no module from the working directory and open no connection."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from keras_vq_cli import command_line
from tests.cli.tiny_run import TINY_CODES
from tests.needed import needed
from tests.no_network import without_network
from tests.poison import imported, poison

pytestmark = pytest.mark.backend_free

# Runs several commands in one process. `-P` makes it equivalent to the script `keras-vq`.
COMMANDS = """
import json, sys

from keras_vq_cli.main import main
for command in json.loads(sys.argv[1]):
    code = main(command)
    print("ENDED", command[0], code, flush=True)
"""
# Opens connections in this process and in a child process.
CONNECTING = """
import contextlib, socket, subprocess, sys

for connect in (
    lambda: socket.create_connection(("127.0.0.1", 9)),
    lambda: socket.socket().connect(("127.0.0.1", 9)),
    lambda: socket.socket().connect_ex(("127.0.0.1", 9)),
    lambda: socket.getaddrinfo("localhost", 80),
):
    with contextlib.suppress(OSError):
        connect()
if len(sys.argv) > 1:
    subprocess.run([sys.executable, "-P", "-c", sys.argv[1]], check=True)
"""


@pytest.fixture
def folder(tmp_path):
    poison(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), "uint8")
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return tmp_path


# On other backends, a child process writes the formats of TensorFlow.
COMMANDS_ON = {
    "jax": [
        ["train", *TINY_CODES, "--epochs", "1", "--quiet", "--out", "run"],
        ["reconstruct", "run", "a.png"],
        ["compress", "a.png", "-o", "a.kvq", "--model", "run"],
        ["decompress", "a.kvq", "--model", "run"],
        ["export", "run", "--format", "litert", "--backend", "jax"],
        ["verify", "run/exports/run-float32.tflite", "--count", "2"],
    ],
    "torch": [
        ["export", "run", "--backend", "torch"],
        ["export", "run", "--format", "onnx", "--backend", "torch"],
        ["verify", "run/exports/onnx", "--count", "2", "--backend", "torch"],
    ],
}


def test_every_command_runs_on_another_backend():
    """Others than these run on all backends in their own tests, or do not use Keras."""
    elsewhere = {
        *("evaluate", "prior", "generate", "encode", "decode"),
        *("serve", "presets", "runs", "convert", "inspect"),
    }
    here = {command[0] for commands in COMMANDS_ON.values() for command in commands}
    assert set(command_line.commands.list_commands(None)) <= here | elsewhere


@pytest.mark.parametrize("backend", COMMANDS_ON)
def test_commands_keep_to_themselves(environment, finished_run, folder, tmp_path, backend):
    needed(backend, "tensorflow", "ai_edge_litert", "onnxruntime", "onnxscript")
    commands = COMMANDS_ON[backend]
    without, log = without_network(environment, tmp_path / "network")
    if commands[0][0] != "train":
        shutil.copytree(finished_run, folder / "run")
    done = subprocess.run(
        [sys.executable, "-P", "-c", COMMANDS, json.dumps(commands)],
        cwd=folder,
        env={**without, "KERAS_BACKEND": backend},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    ended = [line for line in done.stdout.splitlines() if line.startswith("ENDED")]
    assert ended == [f"ENDED {command[0]} 0" for command in commands], done.stdout + done.stderr
    assert log.read_text() == ""
    assert imported(folder) == []


def test_connections_of_all_processes_are_noticed(environment, tmp_path):
    without, log = without_network(environment, tmp_path / "network")
    command = [sys.executable, "-P", "-c", CONNECTING, CONNECTING]
    subprocess.run(command, env=without, check=True)
    processes = [line.partition(" ")[0] for line in log.read_text().splitlines()]
    assert len(processes) == 8
    assert len(set(processes)) == 2


@pytest.mark.parametrize("command", [["--version"], ["train", "--beta", "2"], ["reconstruct", "a"]])
def test_a_module_that_is_run_keeps_to_itself(environment, folder, command):
    process = [sys.executable, "-m", "keras_vq_cli", *command]
    done = subprocess.run(process, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode in (0, 2), done.stderr
    assert "Traceback" not in done.stderr
    assert imported(folder) == []
