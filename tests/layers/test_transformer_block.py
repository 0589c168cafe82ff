import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_vq.layers import TransformerBlock


@pytest.fixture
def inputs(rng):
    return rng.normal(size=(2, 5, 8)).astype("float32")


def built(inputs, rng, **options):
    block = TransformerBlock(num_heads=2, **options)
    block.build(inputs.shape)
    for weight in block.weights:
        weight.assign(rng.normal(scale=0.5, size=weight.shape))
    return block


def normalized(x, norm):
    gamma, beta = (ops.convert_to_numpy(weight).astype("float64") for weight in norm.weights)
    centered = x - x.mean(axis=-1, keepdims=True)
    return gamma * centered / np.sqrt((centered**2).mean(axis=-1, keepdims=True) + 1e-6) + beta


def dense(x, layer):
    kernel, bias = (ops.convert_to_numpy(weight).astype("float64") for weight in layer.weights)
    return x @ kernel + bias


def gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / np.sqrt(2)))


def expected(block, inputs, causal):
    """Computes the formulas of the papers in float64, one head at a time."""
    x = inputs.astype("float64")
    query, key, value = np.split(dense(normalized(x, block.attention_norm), block.to_heads), 3, -1)
    attended = np.zeros_like(x)
    for head in (slice(0, 4), slice(4, 8)):
        scores = query[..., head] @ key[..., head].transpose(0, 2, 1) / np.sqrt(4)
        if causal:
            scores = np.where(np.tril(np.ones((5, 5), bool)), scores, -np.inf)
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        attended[..., head] = shares / shares.sum(axis=-1, keepdims=True) @ value[..., head]
    x = x + dense(attended, block.from_heads)
    return x + dense(gelu(dense(normalized(x, block.perceptron_norm), block.widen)), block.narrow)


@pytest.mark.parametrize("causal", [True, False])
def test_computes_what_the_papers_say(causal, inputs, rng):
    block = built(inputs, rng, causal=causal)
    outputs = ops.convert_to_numpy(block(inputs))
    np.testing.assert_allclose(outputs, expected(block, inputs, causal), rtol=2e-3, atol=2e-3)


def test_steps_give_what_the_whole_gives(inputs, rng):
    block = built(inputs, rng)
    cache, outputs = block.start_cache(ops.convert_to_tensor(inputs)), []
    for position in range(5):
        given = ops.convert_to_tensor(inputs[:, position])
        step, cache = block._step(given, cache, position)
        outputs.append(ops.convert_to_numpy(step))
    whole = ops.convert_to_numpy(block(inputs))
    np.testing.assert_allclose(np.stack(outputs, axis=1), whole, rtol=1e-4, atol=1e-4)


def test_config_and_bad_arguments(inputs):
    block = TransformerBlock(
        num_heads=2, causal=False, mlp_ratio=3, dropout=0.5, seed=1, name="block"
    )
    again = TransformerBlock.from_config(block.get_config())
    assert again.get_config() == block.get_config()
    assert tuple(block(keras.Input((5, 8))).shape) == (None, 5, 8)
    assert (
        ops.convert_to_numpy(block(inputs, training=True)) != ops.convert_to_numpy(block(inputs))
    ).any()
    with pytest.raises(ValueError, match=r"must divide.*Received: 3 heads"):
        TransformerBlock(num_heads=3)(inputs)
    with pytest.raises(ValueError, match=r"\[0, 1\).*Received"):
        TransformerBlock(dropout=1.0)
