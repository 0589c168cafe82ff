"""Nothing of the working directory is imported, and nothing asks for a network connection."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.cli.tiny_run import TINY_CODES
from tests.needed import needed
from tests.poison import imported, poison

pytestmark = pytest.mark.backend_free

# A process in which connecting fails, and which runs several commands: `-P` is what the script
# `keras-vq` amounts to.
COMMANDS = """
import json, socket, sys

def refuse(*args):
    print("CONNECTS", args[1:], flush=True)
    raise OSError("no network in this test")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse

from keras_vq_cli.main import main
for command in json.loads(sys.argv[1]):
    code = main(command)
    print("ENDED", command[0], code, flush=True)
"""


@pytest.fixture
def folder(tmp_path):
    poison(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), "uint8")
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return tmp_path


# TensorFlow's formats are written by a child process from other backends.
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


@pytest.mark.parametrize("backend", COMMANDS_ON)
def test_commands_keep_to_themselves(environment, finished_run, folder, backend):
    needed(backend, "tensorflow", "ai_edge_litert", "onnxruntime", "onnxscript")
    commands = COMMANDS_ON[backend]
    if commands[0][0] != "train":
        shutil.copytree(finished_run, folder / "run")
    done = subprocess.run(
        [sys.executable, "-P", "-c", COMMANDS, json.dumps(commands)],
        cwd=folder,
        env={**environment, "KERAS_BACKEND": backend},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    ended = [line for line in done.stdout.splitlines() if line.startswith("ENDED")]
    assert ended == [f"ENDED {command[0]} 0" for command in commands], done.stdout + done.stderr
    assert "CONNECTS" not in done.stdout
    assert imported(folder) == []


@pytest.mark.parametrize("command", [["--version"], ["train", "--beta", "2"], ["reconstruct", "a"]])
def test_a_module_that_is_run_keeps_to_itself(environment, folder, command):
    process = [sys.executable, "-m", "keras_vq_cli", *command]
    done = subprocess.run(process, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode in (0, 2), done.stderr
    assert "Traceback" not in done.stderr
    assert imported(folder) == []
