"""Tests that training on two devices equals training on one device with the joined batch."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("training.py")


def run(devices, file, *rest):
    environment = {
        **os.environ,
        "KERAS_BACKEND": keras.backend.backend(),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(SCRIPT), str(devices), str(file), *map(str, rest)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(processes):
    try:
        for process in processes:
            output, _ = process.communicate(timeout=300)
            assert process.returncode == 0, output[-3000:]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Returns the weights by name after training on one device and on each of two devices."""
    folder = tmp_path_factory.mktemp("devices")
    finish([run(1, folder / "one.npz")])
    if keras.backend.backend() == "torch":
        port = free_port()
        files = [folder / f"rank{rank}.npz" for rank in range(2)]
        finish([run(2, file, rank, port) for rank, file in enumerate(files)])
    else:
        files = [folder / "two.npz"]
        finish([run(2, files[0])])
    return [dict(np.load(file)) for file in (folder / "one.npz", *files)]


def test_codebooks_of_two_devices_are_those_of_one(weights):
    one, *others = weights
    assert len(one) > 30
    for two in others:
        assert two.keys() == one.keys()
        far = {
            name: float(np.abs(two[name] - expected).max())
            for name, expected in one.items()
            if not np.allclose(two[name], expected, rtol=1e-5, atol=1e-5)
        }
        assert not far
