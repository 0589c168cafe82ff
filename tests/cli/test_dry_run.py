"""Tests that a dry run of each command prints a plan and writes nothing."""

import json
import shutil

import numpy as np
import pytest

from keras_vq_cli.command_line import Commands
from keras_vq_cli.images import write_png
from tests.cli.tiny_run import TINY_CODES

pytestmark = pytest.mark.backend_free

PLANS = {
    "train": (TINY_CODES, {"model": "vqvae", "steps": 90}),
    "prior": (("RUN", "--epochs", 2), {"prior": "PixelCNNPrior", "steps": 2}),
    "generate": (("vae_mnist", "-n", 9), {"images": 9, "image_shape": [28, 28, 1]}),
    "reconstruct": (("RUN", "a.png"), {"images": 1, "image_shape": [8, 8, 1]}),
    "compress": (("a.png", "-o", "b.kvq", "--model", "RUN"), {"pixels": 64, "file": "b.kvq"}),
    "decompress": (("a.kvq", "--model", "RUN"), {"files": ["a-decompressed/a.png"]}),
    "export": (("RUN", "--format", "onnx"), {"functions": ["encode", "decode", "serving_default"]}),
    "decode": (("codes", "--model", "RUN", "--out", "new"), {"images": 1437, "folder": "new"}),
    "encode": (("digits", "--model", "RUN", "--out", "new"), {"rows": 1437, "folder": "new"}),
    "convert": (("RUN", "--out", "new"), {"path": "new", "class": "VQVAE"}),
}


@pytest.fixture(scope="module")
def trained(finished_run, tmp_path_factory):
    """Returns a copy of the run folder, in which a fault would write."""
    return shutil.copytree(finished_run, tmp_path_factory.mktemp("copy") / "tiny")


def contents(*folders):
    return {
        path: path.stat().st_mtime_ns
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("verb", PLANS)
def test_a_dry_run_prints_a_plan_and_writes_nothing(run, trained, tmp_path, verb):
    arguments, expected = PLANS[verb]
    arguments = [trained if each == "RUN" else each for each in arguments]
    write_png(np.zeros((8, 8, 1), "float32"), tmp_path / "a.png")
    if verb == "decompress":
        assert run("compress", "a.png", "-o", "a.kvq", "--model", trained).code == 0
    if verb == "decode":
        assert run("encode", "digits", "--model", trained, "--out", "codes").code == 0
    before = contents(tmp_path, trained)
    result = run(verb, *arguments, "--dry-run", "--json")
    assert result.code == 0, result.err
    plan = json.loads(result.out)
    assert {name: plan[name] for name in expected} == expected
    result = run(verb, *arguments, "--dry-run")
    assert "Nothing is written" in result.out
    assert contents(tmp_path, trained) == before


def test_each_command_that_writes_has_a_dry_run():
    group = Commands()
    commands = {name: group.get_command(None, name) for name in group.list_commands(None)}
    writing = {name for name, each in commands.items() if "out" in {p.name for p in each.params}}
    assert writing == set(PLANS)
