"""Public `VectorQuantizer` in a compiled step on the current Keras backend."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import keras_vq
from benchmarks.contenders import inputs

STAGES = 8
# Quantizers without a codebook, with about as many codes as a codebook.
KINDS: dict[str, Callable[[int], Any]] = {
    "vector": lambda codes: keras_vq.VectorQuantizer(codebook=keras_vq.EMACodebook(codes)),
    "residual": lambda codes: keras_vq.ResidualQuantizer(
        [keras_vq.VectorQuantizer(codebook=keras_vq.EMACodebook(codes)) for _ in range(STAGES)]
    ),
    "fsq": lambda codes: keras_vq.ProjectedQuantizer(
        keras_vq.FiniteScalarQuantizer([4] * _bits(codes, 2)), _bits(codes, 2)
    ),
    "lfq": lambda codes: keras_vq.ProjectedQuantizer(
        keras_vq.LookupFreeQuantizer(), _bits(codes, 1)
    ),
}


def _bits(codes: int, each: int) -> int:
    """Returns the number of dimensions of `each` bits that give `codes` codes."""
    return -(-(codes - 1).bit_length() // each)


def make(
    vectors: int, dim: int, codes: int, compiled: bool = False, kind: str = "vector"
) -> Callable[[], object]:
    """Builds a step; `compiled` uses XLA on TensorFlow and torch.compile on PyTorch."""
    layer = KINDS[kind](codes)
    x = inputs(vectors, dim)
    layer.build(x.shape)
    layer(x[:2], training=True)  # Builds all variables.
    step = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}[keras.backend.backend()]
    return step(layer, x, compiled)


def _tensorflow(layer: Any, x: np.ndarray, compiled: bool) -> Callable[[], object]:
    import tensorflow as tf

    tensor = tf.constant(x)

    @tf.function(jit_compile=compiled)
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(tensor)
            quantized, _ = layer(tensor, training=True)
            loss = tf.reduce_sum(quantized) + sum(layer.losses)
        return tape.gradient(loss, [tensor, *layer.trainable_variables])

    return lambda: step()[0].numpy()


def _jax(layer: Any, x: np.ndarray, compiled: bool) -> Callable[[], object]:
    del compiled
    import jax

    def loss_of(x: Any, trainable: Any, others: Any) -> Any:
        (quantized, _), others, losses = layer.stateless_call(
            trainable, others, x, training=True, return_losses=True
        )
        return quantized.sum() + sum(losses), others

    @jax.jit(donate_argnums=2)
    def step(x: Any, trainable: Any, others: Any) -> Any:
        (_, others), gradients = jax.value_and_grad(loss_of, argnums=(0, 1), has_aux=True)(
            x, trainable, others
        )
        return gradients, others

    state = [jax.numpy.copy(variable.value) for variable in layer.non_trainable_variables]
    trainable = [variable.value for variable in layer.trainable_variables]
    tensor = jax.numpy.asarray(x)

    def run() -> None:
        nonlocal state
        gradients, state = step(tensor, trainable, state)
        jax.block_until_ready((gradients, state))

    return run


def _torch(layer: Any, x: np.ndarray, compiled: bool) -> Callable[[], object]:
    import torch

    from benchmarks.contenders.torch_device import DEVICE, wait

    tensor = torch.from_numpy(x).to(DEVICE).requires_grad_(True)

    def forward(tensor: Any) -> Any:
        quantized, _ = layer(tensor, training=True)
        return quantized.sum() + sum(layer.losses)

    called = torch.compile(forward) if compiled else forward

    def step() -> None:
        tensor.grad = None
        called(tensor).backward()
        wait()

    return step
