"""Tests of the Triton search kernel in the interpreter, and of its compilation for GPUs."""

import functools
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from sklearn.metrics import pairwise_distances_argmin

if keras.backend.backend() != "torch":
    pytest.skip("a kernel of PyTorch", allow_module_level=True)
triton = pytest.importorskip("triton", reason="no dependency: nox -s kernels installs Triton")

import torch  # noqa: E402
from triton import knobs  # noqa: E402
from triton.backends.compiler import GPUTarget  # noqa: E402

import keras_vq  # noqa: E402
from keras_vq import _search, backend  # noqa: E402
from keras_vq import ops as vq_ops  # noqa: E402
from keras_vq.backend.fused_search import by_triton, choice  # noqa: E402

SETTINGS = pytest.mark.parametrize("settings", by_triton.SETTINGS, ids=str)


def as_tensors(rng, count, codebook_size, dim):
    sets = rng.normal(size=(count, dim)), rng.normal(size=(codebook_size, dim))
    return [torch.from_numpy(rows.astype("float32")) for rows in sets]


# Triton reads TRITON_INTERPRET at import.
INTERPRET = """
import sys
import torch
from keras_vq.backend.fused_search import by_triton

cases, found = sys.argv[1:]
answers = [
    [by_triton.by_kernel(vectors, codes, settings) for settings in by_triton.SETTINGS]
    for vectors, codes in torch.load(cases)
]
torch.save(answers, found)
"""


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    """Returns vectors, code vectors, and the indices of the kernel with each of the settings."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("interpreted")
    # Sizes below, at and above the block sizes.
    sizes = [(1, 1, 1), (128, 64, 32), (100, 65, 33), (65, 1000, 100)]
    cases = [as_tensors(rng, *size) for size in sizes]
    _, codes = as_tensors(rng, 1, 300, 5)
    codes[[7, 200, 201]] = codes[3].clone()  # ties within one tile and between two
    cases.append([codes[[3, 201]], codes])
    # Rows that are not contiguous.
    vectors, codes = as_tensors(rng, 20, 30, 8)
    cases.append([vectors.T.contiguous().T, codes.T.contiguous().T])
    torch.save(cases, folder / "cases")
    subprocess.run(
        [sys.executable, "-c", INTERPRET, folder / "cases", folder / "found"],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        check=True,
    )
    return list(zip(cases, torch.load(folder / "found"), strict=True))


def test_kernel_finds_the_codes_that_scikit_learn_finds(interpreted):
    for (vectors, codes), answers in interpreted:
        expected = pairwise_distances_argmin(vectors.double().numpy(), codes.double().numpy())
        for indices in answers:
            assert indices.dtype == torch.int32
            np.testing.assert_array_equal(indices, expected)


def test_lowest_index_wins_a_tie_of_two_tiles_and_of_one(interpreted):
    _, answers = interpreted[4]
    assert [indices.tolist() for indices in answers] == [[3, 3]] * len(by_triton.SETTINGS)


@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION is unset")
@pytest.mark.parametrize("capability", [80, 90])
@SETTINGS
def test_kernel_compiles_for_gpus(settings, capability, tmp_path, monkeypatch):
    monkeypatch.setattr(knobs.cache, "dir", str(tmp_path))
    constants = {
        "rows": settings.rows,
        "tile": settings.tile,
        "depth": by_triton._DEPTH,
        "precision": settings.precision,
    }
    pointers = dict.fromkeys(("vectors", "embeddings", "biases"), "*fp32") | {"codes": "*i32"}
    numbers = dict.fromkeys(("count", "codebook_size", "dim"), "i32")
    source = triton.compiler.ASTSource(
        fn=by_triton._kernel,
        signature=pointers | numbers | dict.fromkeys(constants, "constexpr"),
        constexprs=constants,
    )
    compiled = triton.compile(
        source, target=GPUTarget("cuda", capability, 32), options={"num_warps": settings.warps}
    )
    assert compiled.asm["cubin"]
    # Uses tensor cores except for IEEE float32.
    on_tensor_cores = "wgmma" in compiled.asm["ptx"] or "mma.sync" in compiled.asm["ptx"]
    assert on_tensor_cores == (settings.precision == "tf32x3")
    # Maximum shared memory per thread block on an A100.
    assert compiled.metadata.shared <= 166_912


@pytest.fixture
def sets(rng):
    return as_tensors(rng, choice.LEAST_SCORES // 64, 64, 4)


FUSED = "fused, ieee, 64 x 64"


@pytest.mark.parametrize("best", [FUSED, "by blocks"])
def test_the_best_is_tried_once_for_a_size_and_taken(sets, monkeypatch, best):
    vectors, codes = sets
    trials, blocks_calls = [], []

    def by_blocks(vectors, codes):
        blocks_calls.append(len(vectors))
        return _search.search_by_blocks(vectors, codes)

    def fused(vectors, codes, settings):
        return _search.search_by_blocks(vectors, codes)

    def fastest(searches, vectors, codes, wait):
        trials.append(len(vectors))
        assert set(searches) >= {"by blocks", FUSED}
        return best

    monkeypatch.setattr(by_triton, "by_kernel", fused)
    monkeypatch.setattr(choice, "fastest", fastest)
    search = by_triton.or_blocks(by_blocks)
    expected = vq_ops.nearest_code(vectors, codes)
    for count in (len(vectors), len(vectors) - 1, len(vectors) + 1):
        rows = vectors.repeat(2, 1)[:count].requires_grad_()
        found = search(rows, codes)
        assert torch.equal(found, expected.repeat(2)[:count])
        (rows - codes[found]).square().sum().backward()
        torch.testing.assert_close(rows.grad, 2 * (rows - codes[found]))
    # With one vector less, no trial is made; with one more, the trial is reused.
    assert trials == [len(vectors)]
    assert len(blocks_calls) == (1 if best == FUSED else 3)


def test_torch_compile_follows_it_in_one_graph(sets, monkeypatch):
    vectors, codes = sets
    monkeypatch.setattr(
        by_triton, "by_kernel", lambda x, e, settings: _search.search_by_blocks(x, e)
    )
    monkeypatch.setattr(choice, "fastest", lambda *arguments: FUSED)
    search = by_triton.or_blocks(_search.search_by_blocks)

    @functools.partial(torch.compile, fullgraph=True, backend="aot_eager")
    def step(vectors, codes):
        found = search(vectors, codes)
        return found, (vectors - codes[found]).square().sum()

    vectors.requires_grad_()
    found, loss = step(vectors, codes)
    loss.backward()
    assert torch.equal(found, vq_ops.nearest_code(vectors, codes))
    torch.testing.assert_close(vectors.grad, 2 * (vectors - codes[found]))


def test_only_tensors_on_a_gpu_are_searched_by_a_kernel(sets, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(choice, "fastest", None)
    monkeypatch.setenv("KERAS_VQ_FUSED_SEARCH", "1")
    search = backend.with_fused_search(_search.search_by_blocks)
    assert search is not _search.search_by_blocks
    assert torch.equal(search(*sets), _search.search_by_blocks(*sets))
    monkeypatch.delattr(keras_vq.backend.fused_search, "by_triton")
    monkeypatch.setitem(sys.modules, "keras_vq.backend.fused_search.by_triton", None)
    assert backend.with_fused_search(_search.search_by_blocks) is _search.search_by_blocks
