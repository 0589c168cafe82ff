"""Latents sampled from a prior."""

from typing import Any

import numpy as np

from keras_vq import _validation
from keras_vq._types import Shape
from keras_vq.models._arrays import check_shape


def draw_latents(
    prior: Any, n: int, temperature: float, seed: int | None, latent_shape: Shape
) -> np.ndarray:
    """Samples latents from a prior and checks their shape.

    Args:
        prior: Object with a method `generate(n, temperature=..., seed=...)`.
        n: Integer. Number of latents.
        temperature: Float, at least 0. Passed to the prior.
        seed: Integer or `None`. Passed to the prior.
        latent_shape: Shape of the latents of one input, with `None` for an axis of any size.

    Returns:
        Array of shape `(n, *latent_shape)`.

    Raises:
        ValueError: If an argument is invalid, or the latents have another shape.
    """
    _validation.check_positive_integer("n", n)
    _validation.check_not_negative("temperature", temperature)
    if not callable(getattr(prior, "generate", None)):
        raise ValueError(
            "`prior` must have a method `generate(n, temperature, seed)` that returns latents, "
            f"such as `keras_vq.priors.GaussianMixturePrior`. Received: {prior!r}"
        )
    latents = np.asarray(prior.generate(n, temperature=temperature, seed=seed))
    check_shape(latents.shape, latent_shape, "prior.generate(n)", "of the decoder inputs")
    return latents
