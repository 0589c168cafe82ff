"""Sampling of codes from logits: temperature, top-k, top-p, classifier-free guidance."""

from typing import Any

import numpy as np
from keras import ops

from keras_vq import _validation
from keras_vq._types import Tensor


def uniform_numbers(seed: int | None, shape: tuple[int, ...]) -> np.ndarray:
    """Returns uniform random numbers for `sample_codes`, equal on all backends for one seed.

    Args:
        seed: Integer. None gives different numbers at each call.
        shape: Tuple of integers. Shape of the array.

    Returns:
        Float32 array with values in [0, 1).
    """
    numbers = np.random.default_rng(seed).random(shape, dtype="float32")
    # The margin to 1 covers the rounding error of a cumulative sum of probabilities.
    return numbers * np.float32(1 - 1e-5)


def sample_codes(
    logits: Tensor,
    uniforms: Tensor,
    temperature: Tensor | float = 1.0,
    top_k: int | None = None,
    top_p: Tensor | float | None = None,
) -> Tensor:
    """Samples one code from each distribution by inverse transform sampling.

    The result depends on the logits and uniform numbers only: the same numbers give the same codes
    with any batch size or cache. The logits are divided by the temperature; `top_k` and `top_p`
    exclude unlikely codes (nucleus sampling: Holtzman et al., "The Curious Case of Neural Text
    Degeneration", 2020).

    Args:
        logits: Float tensor of shape `(..., K)`.
        uniforms: Float tensor of shape `(...)`, with values in [0, 1).
        temperature: Float above 0, or a tensor that broadcasts to `(...)`. Values below 1 favor
            likely codes. Defaults to 1.0.
        top_k: Integer. Number of most likely codes to keep. Ties go to the lowest index, so that
            exactly `top_k` codes remain. None keeps all. Defaults to None.
        top_p: Float in (0, 1], or a tensor that broadcasts to `(...)`. Keeps the smallest set of
            most likely codes whose total probability reaches `top_p`, with a relative tolerance of
            1e-6. Ties go to the lowest index. 1 or None keeps all. Defaults to None.

    Returns:
        Int32 tensor of shape `(...)`.

    Example:
        >>> import numpy as np, keras_vq
        >>> logits = np.log(np.array([[0.5, 0.25, 0.25]] * 3, "float32"))
        >>> codes = keras_vq.priors.sample_codes(logits, np.array([0.4, 0.6, 0.9], "float32"))
        >>> [int(code) for code in codes]
        [0, 1, 2]
    """
    uniforms = ops.convert_to_tensor(uniforms, dtype="float32")
    temperature = ops.convert_to_tensor(temperature, dtype="float32")
    logits = ops.cast(logits, "float32")
    if top_k is not None and top_k < logits.shape[-1]:
        # Before the division by the temperature, which may round different logits to a tie.
        least = ops.top_k(logits, top_k)[0][..., -1:]
        logits = ops.where(_likeliest(logits, least, float(top_k)), logits, -np.inf)
    # The maximum becomes 0, so that a division by a low temperature cannot overflow.
    logits = logits - ops.amax(logits, axis=-1, keepdims=True)
    probabilities = ops.softmax(logits / temperature[..., None])
    if top_p is not None:
        probabilities = _nucleus(probabilities, ops.convert_to_tensor(top_p, dtype="float32"))
    cumulative = ops.cumsum(probabilities, axis=-1)
    drawn = uniforms[..., None] * cumulative[..., -1:]
    # Rounding errors of the cumulative sum must not select a code of probability 0.
    is_past = ops.logical_and(cumulative > drawn, probabilities > 0)
    return ops.cast(ops.argmax(ops.cast(is_past, "int32"), axis=-1), "int32")


def _nucleus(probabilities: Tensor, top_p: Tensor) -> Tensor:
    """Sets probabilities outside the top-p set to 0."""
    descending = ops.flip(ops.sort(probabilities, axis=-1), axis=-1)
    sum_before = ops.cumsum(descending, axis=-1) - descending
    # The tolerance covers the rounding error of the cumulative sum.
    share = top_p[..., None] * (1.0 - 1e-6)
    in_set = ops.logical_or(sum_before < share, top_p[..., None] >= 1.0)
    least = ops.amin(ops.where(in_set, descending, 1.0), axis=-1, keepdims=True)
    count = ops.sum(ops.cast(in_set, "float32"), axis=-1, keepdims=True)
    return ops.where(_likeliest(probabilities, least, count), probabilities, 0.0)


def _likeliest(values: Tensor, least: Tensor, count: Tensor | float) -> Tensor:
    """Returns a mask of the `count` largest values. Ties go to the lowest index.

    Args:
        values: Float tensor of shape `(..., K)`.
        least: Float tensor of shape `(..., 1)`. The smallest of the `count` largest values.
        count: Number, or float tensor of shape `(..., 1)`.
    """
    is_greater = values > least
    is_tied = ops.equal(values, least)
    ties_left = count - ops.sum(ops.cast(is_greater, "float32"), axis=-1, keepdims=True)
    rank_of_tie = ops.cumsum(ops.cast(is_tied, "float32"), axis=-1)
    return ops.logical_or(is_greater, ops.logical_and(is_tied, rank_of_tie <= ties_left))


def checked_options(
    temperature: Any, top_k: Any, top_p: Any, guidance: Any
) -> tuple[float, int | None, float | None, float | None]:
    """Returns the sampling options of `generate` after checking their ranges.

    Raises:
        ValueError: If an option is out of range.
    """
    temperature = _validation.check_positive("temperature", temperature)
    if top_k is not None:
        top_k = _validation.check_positive_integer("top_k", top_k)
    if top_p is not None and _validation.check_positive("top_p", top_p) > 1:
        raise ValueError(f"`top_p` must be a number in (0, 1]. Received: {top_p!r}")
    if guidance is not None:
        guidance = _validation.check_not_negative("guidance", guidance)
    return temperature, top_k, top_p, guidance


def guided(logits: Tensor, guidance: Tensor) -> Tensor:
    """Applies classifier-free guidance to logits.

    The result is `without + guidance * (with_labels - without)`. Source: Ho and Salimans,
    "Classifier-Free Diffusion Guidance", 2022, applied here to logits.

    Args:
        logits: Float tensor of shape `(2 batch, ..., K)`: logits with labels, then without.
        guidance: Tensor of shape `(batch,)`. Guidance scale: 0 ignores the labels, 1 equals
            plain class-conditional logits, larger values amplify the effect of the labels.

    Returns:
        Float tensor of shape `(batch, ..., K)`.
    """
    with_labels, without = ops.split(ops.cast(logits, "float32"), 2, axis=0)
    scale = ops.reshape(guidance, (-1,) + (1,) * (len(logits.shape) - 1))
    return without + scale * (with_labels - without)
