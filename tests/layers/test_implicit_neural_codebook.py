"""Tests of the QINCo network against the published forward pass in NumPy."""

import numpy as np
import pytest
from keras import ops

import keras_vq

DIM, SIZE, HIDDEN, BLOCKS, STEPS = 6, 16, 10, 3, 3


class TheirStep:
    """QINCo step after the first, with names and shapes of the published weights."""

    def __init__(self, rng):
        def normal(*shape):
            return rng.normal(size=shape).astype("float32")

        self.codebook = normal(SIZE, DIM)
        self.concat_weight, self.concat_bias = 0.5 * normal(DIM, 2 * DIM), normal(DIM)
        self.blocks = [
            (0.3 * normal(HIDDEN, DIM), 0.3 * normal(DIM, HIDDEN)) for _ in range(BLOCKS)
        ]

    def codes(self, context):
        """Computes the code vectors for partial reconstructions, `(n, dim)` -> `(n, SIZE, dim)`."""
        context = context[:, None].astype("float64")
        base, context = np.broadcast_arrays(self.codebook.astype("float64"), context)
        pair = np.concatenate([base, context], axis=-1)
        values = base + pair @ self.concat_weight.T + self.concat_bias
        for first, second in self.blocks:
            values = values + np.maximum(values @ first.T, 0.0) @ second.T
        return values

    def hand_over(self, quantizer):
        """Assigns the weights to a quantizer, in the order of `ImplicitNeuralCodebook`."""
        quantizer.embeddings.assign(self.codebook)
        network = quantizer.code_network
        kernel = self.concat_weight.T
        network.projection.kernel.assign(np.concatenate([kernel[DIM:], kernel[:DIM]]))
        network.projection.bias.assign(self.concat_bias)
        for number, (first, second) in enumerate(self.blocks):
            network.widen[number].kernel.assign(first.T)
            network.narrow[number].kernel.assign(second.T)


def nearest(vectors, codes):
    """Returns indices and values of the nearest code vectors in `(n, SIZE, dim)`."""
    indices = ((vectors[:, None] - codes) ** 2).sum(-1).argmin(1)
    return indices, codes[np.arange(len(vectors)), indices]


def test_codes_are_those_of_the_authors(rng):
    vectors = 2.0 * rng.normal(size=(50, DIM)).astype("float32")
    first = rng.normal(size=(SIZE, DIM)).astype("float32")
    steps = [TheirStep(rng) for _ in range(STEPS)]
    indices, total = nearest(
        vectors.astype("float64"), np.tile(first.astype("float64"), (50, 1, 1))
    )
    their_indices = [indices]
    for step in steps:
        indices, codes = nearest(vectors - total, step.codes(total))
        their_indices.append(indices)
        total = total + codes

    levels = [keras_vq.VectorQuantizer(codebook=keras_vq.GradientCodebook(SIZE))] + [
        keras_vq.ImplicitNeuralQuantizer(
            SIZE, keras_vq.layers.ImplicitNeuralCodebook(HIDDEN, BLOCKS)
        )
        for _ in range(STEPS)
    ]
    quantizer = keras_vq.ResidualQuantizer(levels)
    quantizer.build((None, DIM))
    levels[0].codebook.embeddings.assign(first)
    for step, level in zip(steps, levels[1:], strict=True):
        step.hand_over(level)
    quantized, indices = quantizer(vectors)
    np.testing.assert_array_equal(ops.convert_to_numpy(indices), np.stack(their_indices, axis=1))
    np.testing.assert_allclose(ops.convert_to_numpy(quantized), total, rtol=1e-4, atol=1e-4)


@pytest.mark.backend_free
def test_inputs_are_pairs():
    with pytest.raises(ValueError, match="concatenation of a context"):
        keras_vq.layers.ImplicitNeuralCodebook().build((None, 5))
