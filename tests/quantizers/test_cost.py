"""Tests of the memory and the number of searches of a training step, without timing."""

import math

import keras
import numpy as np
import pytest

import keras_vq
from keras_vq import backend
from keras_vq._search import SCORES_PER_BLOCK
from tests.operations import operations_of_training

VECTORS, DIM, CODES = 8192, 4, 2048
CODES_AT_A_TIME = min(CODES, backend.search_blocks((VECTORS, CODES)).codes)

QUANTIZERS = {
    "moving averages": lambda: keras_vq.VectorQuantizer(
        codebook=keras_vq.EMACodebook(CODES, restart=keras_vq.DeadCodeRestart())
    ),
    "gradient": lambda: keras_vq.VectorQuantizer(codebook=keras_vq.GradientCodebook(CODES)),
    "own step": lambda: keras_vq.VectorQuantizer(
        codebook=keras_vq.SGDCodebook(CODES, learning_rate=0.1)
    ),
    "cosine": lambda: keras_vq.VectorQuantizer(CODES, metric="cosine"),
    "rotation trick": lambda: keras_vq.VectorQuantizer(CODES, estimator="rotation_trick"),
    "residual": lambda: keras_vq.ResidualQuantizer(
        [keras_vq.VectorQuantizer(CODES) for _ in range(2)]
    ),
    "finite scalar": lambda: keras_vq.FiniteScalarQuantizer((8, 8, 8, 4)),
    "binary": lambda: keras_vq.LookupFreeQuantizer(DIM),
}


def operations(name):
    quantizer = QUANTIZERS[name]()
    quantizer.build((VECTORS, DIM))
    inputs = np.random.default_rng(0).normal(size=(VECTORS, DIM)).astype("float32")
    return operations_of_training(quantizer, inputs)


@pytest.mark.parametrize("name", QUANTIZERS)
def test_nothing_is_as_large_as_vectors_times_codes(name):
    """Checks that there is no matrix of all distances and no one-hot matrix."""
    sizes = {operation: math.prod(operation.shape) for operation in operations(name)}
    largest = max(sizes, key=sizes.get)
    # One block of scores, padded by a group of 32 codes.
    assert sizes[largest] <= SCORES_PER_BLOCK * (1 + 32 / CODES), largest


@pytest.mark.parametrize(("name", "searches"), [("moving averages", 1), ("residual", 2)])
def test_one_search_a_step(name, searches):
    products = [
        operation
        for operation in operations(name)
        if operation.name in ("MatMul", "BatchMatMulV2", "dot_general", "mm.out")
        and CODES_AT_A_TIME in operation.shape
    ]
    blocks = VECTORS * CODES // SCORES_PER_BLOCK if keras.backend.backend() == "torch" else 1
    assert len(products) == searches * blocks


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="runs eagerly")
@pytest.mark.parametrize("way", ["fit", "train_on_batch"])
def test_a_step_is_traced_once(way, rng):
    traced = []

    class Counted(keras.layers.Layer):
        def call(self, inputs, training=False):
            traced.append(training)
            return inputs

    encoder = keras.Sequential([keras.Input((3, 3, DIM)), Counted()])
    decoder = keras.Sequential([keras.Input((3, 3, DIM)), keras.layers.Dense(DIM)])
    model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(16), decoder)
    model.compile("adam")
    images = rng.random((32, 3, 3, DIM)).astype("float32")

    def train():
        if way == "fit":
            model.fit(images, batch_size=8, epochs=2, verbose=0)
        else:
            model.train_on_batch(images)

    traced.clear()  # traces of the build
    train()
    assert traced.count(True) == 1
    traced.clear()
    train()
    assert traced == []


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="PyTorch's compiler")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # raised within torch.compile
def test_torch_compiles_a_step_as_one_graph(rng):
    import torch

    # Without restarts, which use seed generators that Keras excludes from graphs.
    quantizer = keras_vq.VectorQuantizer(codebook=keras_vq.EMACodebook(CODES))
    inputs = torch.from_numpy(rng.normal(size=(VECTORS, DIM)).astype("float32"))
    quantizer(inputs, training=True)  # build

    def step(x):
        quantized, _ = quantizer(x, training=True)
        return quantized.sum() + sum(quantizer.losses)

    found = torch._dynamo.explain(step)(inputs.requires_grad_(True))
    assert found.graph_break_count == 0, [str(reason.reason) for reason in found.break_reasons]
