"""From the logits of a model of codes to codes."""

from typing import Any

import numpy as np
from keras import ops

from keras_vq import _validation
from keras_vq._types import Tensor


def uniform_numbers(seed: int | None, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform numbers that `sample_codes` takes, the same for a seed on every backend.

    Args:
        seed: The seed; None for others each time.
        shape: Shape of the array.

    Returns:
        Float32 array, in [0, 1).
    """
    numbers = np.random.default_rng(seed).random(shape, dtype="float32")
    # So far below 1 that a rounded sum of probabilities is not reached.
    return numbers * np.float32(1 - 1e-5)


def sample_codes(
    logits: Tensor,
    uniforms: Tensor,
    temperature: Tensor | float = 1.0,
    top_k: int | None = None,
    top_p: Tensor | float | None = None,
) -> Tensor:
    """Draws a code from each distribution, by the inverse of its cumulative distribution.

    The draw is a function of logits and uniform numbers alone: the same numbers give the same
    codes, however codes are batched or cached. The logits are divided by the temperature; then
    `top_k` and `top_p` leave out unlikely codes (nucleus sampling: Holtzman et al., "The Curious
    Case of Neural Text Degeneration", 2020).

    Args:
        logits: Float tensor of shape `(..., K)`.
        uniforms: Float tensor of shape `(...)`, in [0, 1).
        temperature: Above 0; below 1 for likelier codes. A number, or a tensor that broadcasts
            to `(...)`.
        top_k: Number of likeliest codes to keep; None for all. Of equally likely codes those of
            the lowest index are kept, so that exactly `top_k` remain.
        top_p: Keeps the smallest set of likeliest codes whose probabilities sum to at least this
            share, in (0, 1], to within 1e-6 of it: a number, or a tensor that broadcasts to
            `(...)`; ties are resolved as for `top_k`. 1 or None keeps all.

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
        # Before the division by the temperature, which may round different logits to equal ones.
        least = ops.top_k(logits, top_k)[0][..., -1:]
        logits = ops.where(_likeliest(logits, least, float(top_k)), logits, -np.inf)
    # Moved below 0 first, so that no temperature makes them infinite.
    logits = logits - ops.amax(logits, axis=-1, keepdims=True)
    probabilities = ops.softmax(logits / temperature[..., None])
    if top_p is not None:
        probabilities = _nucleus(probabilities, ops.convert_to_tensor(top_p, dtype="float32"))
    cumulative = ops.cumsum(probabilities, axis=-1)
    drawn = uniforms[..., None] * cumulative[..., -1:]
    # Codes of no probability are never drawn, whatever the rounding of the sums.
    is_past = ops.logical_and(cumulative > drawn, probabilities > 0)
    return ops.cast(ops.argmax(ops.cast(is_past, "int32"), axis=-1), "int32")


def _nucleus(probabilities: Tensor, top_p: Tensor) -> Tensor:
    """Sets the probabilities outside the smallest set that reaches a share to 0."""
    descending = ops.flip(ops.sort(probabilities, axis=-1), axis=-1)
    sum_before = ops.cumsum(descending, axis=-1) - descending
    # Sums are rounded: a set that lacks a millionth of the share has reached it.
    share = top_p[..., None] * (1.0 - 1e-6)
    in_set = ops.logical_or(sum_before < share, top_p[..., None] >= 1.0)
    least = ops.amin(ops.where(in_set, descending, 1.0), axis=-1, keepdims=True)
    count = ops.sum(ops.cast(in_set, "float32"), axis=-1, keepdims=True)
    return ops.where(_likeliest(probabilities, least, count), probabilities, 0.0)


def _likeliest(values: Tensor, least: Tensor, count: Tensor | float) -> Tensor:
    """Returns a mask of the `count` greatest values; of equal ones the first are taken.

    Args:
        values: Float tensor of shape `(..., K)`.
        least: The smallest of the `count` greatest values, shape `(..., 1)`.
        count: A number, or float tensor of shape `(..., 1)`.
    """
    is_greater = values > least
    is_tied = ops.equal(values, least)
    ties_left = count - ops.sum(ops.cast(is_greater, "float32"), axis=-1, keepdims=True)
    rank_of_tie = ops.cumsum(ops.cast(is_tied, "float32"), axis=-1)
    return ops.logical_or(is_greater, ops.logical_and(is_tied, rank_of_tie <= ties_left))


def checked_options(
    temperature: Any, top_k: Any, top_p: Any, guidance: Any
) -> tuple[float, int | None, float | None, float | None]:
    """The options of `generate`, if they are in their ranges.

    Raises:
        ValueError: If one isn't.
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
    """Logits moved from those without labels towards, and past, those with labels.

    Source: Ho and Salimans, "Classifier-Free Diffusion Guidance", 2022, here on logits.

    Args:
        logits: Float tensor of shape `(2 batch, ..., K)`: with labels, then without.
        guidance: Tensor of shape `(batch,)`: 0 ignores the labels, 1 takes them as they are,
            more follows them more.

    Returns:
        Float tensor of shape `(batch, ..., K)`.
    """
    with_labels, without = ops.split(ops.cast(logits, "float32"), 2, axis=0)
    scale = ops.reshape(guidance, (-1,) + (1,) * (len(logits.shape) - 1))
    return without + scale * (with_labels - without)
