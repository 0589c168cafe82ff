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
        top_k: How many of the likeliest codes to keep; None for all.
        top_p: Keeps the fewest codes whose probabilities sum to at least this share, in (0, 1]:
            a number, or a tensor that broadcasts to `(...)`; None for all.

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
    logits = ops.cast(logits, "float32") / temperature[..., None]
    if top_k is not None and top_k < logits.shape[-1]:
        least = ops.top_k(logits, top_k)[0][..., -1:]
        logits = ops.where(logits >= least, logits, -np.inf)
    probabilities = ops.softmax(logits)
    if top_p is not None:
        probabilities = _nucleus(probabilities, ops.convert_to_tensor(top_p, dtype="float32"))
    cumulative = ops.cumsum(probabilities, axis=-1)
    drawn = uniforms[..., None] * cumulative[..., -1:]
    # Codes of no probability are never drawn, whatever the rounding of the sums.
    is_past = ops.logical_and(cumulative > drawn, probabilities > 0)
    return ops.cast(ops.argmax(ops.cast(is_past, "int32"), axis=-1), "int32")


def _nucleus(probabilities: Tensor, top_p: Tensor) -> Tensor:
    """The probabilities of the likeliest codes that sum to a share; 0 for the others."""
    descending = ops.flip(ops.sort(probabilities, axis=-1), axis=-1)
    sum_before = ops.cumsum(descending, axis=-1) - descending
    kept = ops.where(sum_before < top_p[..., None], descending, 1.0)
    return ops.where(probabilities >= ops.amin(kept, axis=-1, keepdims=True), probabilities, 0.0)


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
