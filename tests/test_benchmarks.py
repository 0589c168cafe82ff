"""Tests that the benchmarks run, with few vectors."""

import contextlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import (
    _processes,
    fit_overhead,
    precision,
    pretrained,
    quantizer,
    report,
    whole_step,
)
from benchmarks.__main__ import name_of_results
from recipes import _machine
from tests.needed import needed

pytestmark = pytest.mark.backend_free


def test_contenders_take_turns(monkeypatch):
    monkeypatch.setattr(quantizer, "_PROCESSES", {quantizer.BASE: 2})
    names = ["bare product", "keras_vq on PyTorch", "faiss, search alone"]
    needed("faiss")
    rows = dict(quantizer.rows([64], [4], [8], names, rounds=1, threads=1))
    assert [row["contender"] for row in rows.values()] == names
    for row in rows.values():
        assert row["ms"] > 0
        assert row["process, MiB"] > 40
    base, *others = rows.values()
    assert base["times the product"] == 1
    for row in others:
        assert row["times the product"] == pytest.approx(row["ms"] / base["ms"])


def test_some_contenders_have_an_environment_of_their_own(monkeypatch):
    given = {}

    class Worker(contextlib.nullcontext):
        def __init__(self, task, backend, threads, more=None):
            given[task] = more

        def __enter__(self):
            return self

        def asked(self, what):
            return 1.0

    monkeypatch.setattr(_processes, "Worker", Worker)
    contenders = {"one": ("task 1", None), "other": ("task 2", None)}
    found = _processes.race(contenders, 1, 1, environments={"other": {"NAME": "value"}})
    assert given == {"task 1": None, "task 2": {"NAME": "value"}}
    assert [turns.seconds for turns in found.values()] == [1.0, 1.0]


def test_a_contender_that_fails_says_why():
    names = ["keras_vq on PyTorch"]
    (row,) = dict(quantizer.rows([64], [4], [0], names, rounds=1, threads=1)).values()
    assert "codebook_size" in row["failed"]


def test_matrices_that_do_not_fit_are_left_out(monkeypatch):
    monkeypatch.setattr(quantizer, "_MOST_SCORES", 0)
    assert not list(quantizer.rows([64], [4], [8], ["vector-quantize-pytorch"], 1, 1))


@pytest.mark.parametrize("kind", ["vector", "residual", "fsq", "lfq"])
def test_every_kind_takes_a_step(kind):
    (options,) = [
        options
        for name, (_, _, options) in quantizer.KINDS.items()
        if name == f"{kind} on TensorFlow, XLA"
    ]
    quantizer.make("ours", vectors=64, dim=8, codes=16, **options | {"compiled": False})()


@pytest.mark.parametrize("part", [*quantizer.PARTS, "blocks"])
def test_every_part_runs(part):
    quantizer.make("parts", vectors=64, dim=8, codes=16, part=part)()


def test_searches_beside_distances(monkeypatch):
    monkeypatch.setattr(quantizer, "SEARCHED_CODES", (64,))
    names = ["PyTorch, cdist and argmin", "keras_vq on PyTorch"]
    chosen = {name: quantizer.SEARCHES[name] for name in names}
    monkeypatch.setattr(quantizer, "SEARCHES", chosen)
    rows = dict(quantizer.searches(rounds=1, threads=1))
    assert list(rows) == [f"2048 x 64, 64 codes: {name}" for name in names]
    assert rows["2048 x 64, 64 codes: keras_vq on PyTorch"]["times cdist"] > 0


@pytest.mark.parametrize("network", ["mnist", "cifar10"])
def test_the_model_by_hand_is_of_the_same_size_and_takes_a_step(network):
    needed("torch")
    from benchmarks.contenders import vqvae_by_hand as by_hand

    model = whole_step.build(network)
    theirs = getattr(by_hand, network)().parameters()
    ours = model.encoder.count_params() + model.decoder.count_params()
    assert sum(weight.numel() for weight in theirs) == ours
    by_hand.make(network, batch=4)()


def test_both_pretrained_models_are_of_the_same_size_and_run(monkeypatch):
    needed("torch", "diffusers")
    monkeypatch.setattr(pretrained, "SIDE", 16)
    from benchmarks.contenders import diffusers_vq_model

    monkeypatch.setattr(diffusers_vq_model, "SIDE", 16)
    theirs = sum(weight.numel() for weight in diffusers_vq_model.build().parameters())
    ours = pretrained.build().trainable_weights
    assert sum(int(np.prod(weight.shape)) for weight in ours) == theirs
    for module in (pretrained, diffusers_vq_model):
        assert module.make("encode", 2)().size == 2 * 2 * 2
        assert module.make("decode", 2)().size == 2 * 16 * 16 * 3


def test_a_gpu_has_results_of_its_own(monkeypatch, tmp_path):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho NVIDIA H200\necho NVIDIA H200\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert _machine.accelerator() == "NVIDIA H200"
    folder = "from benchmarks.__main__ import FOLDER; print('folder', FOLDER.name)"
    said = subprocess.run(
        [sys.executable, "-c", folder], capture_output=True, text=True, check=True
    )
    assert "folder gpu" in said.stdout


@pytest.mark.parametrize(
    ("flags", "name"), [("avx2 avx512f", "precision_emulated"), ("avx2 avx512_bf16", "precision")]
)
def test_half_precision_that_is_emulated_has_results_of_its_own(flags, name, monkeypatch, tmp_path):
    monkeypatch.setattr(_machine, "accelerator", lambda: None)
    monkeypatch.setattr(_machine, "PROCESSORS", tmp_path / "cpuinfo")
    assert name_of_results("precision") == "precision"  # without /proc/cpuinfo
    _machine.PROCESSORS.write_text(f"processor: 0\nflags: {flags}\n")
    assert name_of_results("precision") == name
    assert name_of_results("step") == "step"


@pytest.mark.parametrize("way", [fit_overhead.BY_HAND, fit_overhead.BY_FIT])
def test_both_ways_take_an_epoch(way, monkeypatch):
    monkeypatch.setattr(fit_overhead, "BATCH", 2)
    fit_overhead.make(way)()


def test_precisions_share_their_weights(monkeypatch):
    monkeypatch.setattr(precision, "IMAGES", 64)
    assert precision.share_of_other_codes("mnist", "float32") == 0
    assert 0 < precision.share_of_other_codes("mnist", "mixed_bfloat16") < 100


def test_networks_are_those_of_the_examples():
    counts = {name: whole_step.build(name).input_shape for name in ("mnist", "cifar10")}
    assert counts == {"mnist": (None, 28, 28, 1), "cifar10": (None, 32, 32, 3)}


def test_report(tmp_path):
    rows = {
        f"{codes}: ours": {
            "vectors": 8192,
            "dim": 64,
            "codes": codes,
            "contender": "ours",
            "ms": ms,
        }
        for codes, ms in ((1024, 2.0), (8192, 16.5))
    }
    rows["broken"] = {"contender": "theirs", "failed": "out of memory"}
    record = {"figures": rows, "command": "python -m benchmarks sizes", "seconds": 3.0}
    (tmp_path / "sizes.json").write_text(json.dumps(record | {"machine": "2 cores"}))
    report.write(tmp_path)
    page = (tmp_path / "README.md").read_text()
    assert "| 8192: ours | 16.5 |  |" in page
    assert "| broken |  | out of memory |" in page
    assert "| ours |  |  | 1.01 |" in page  # log(16.5 / 2) / log(8), for codes only
    assert "not run" in page
    assert (tmp_path / "sizes.png").stat().st_size > 10_000
