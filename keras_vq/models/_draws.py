"""Latents drawn from a prior, for models to decode."""

from typing import Any

import numpy as np

from keras_vq import _validation
from keras_vq._types import Shape
from keras_vq.models._images import check_image_shape


def draw_latents(
    prior: Any, n: int, temperature: float, seed: int | None, latent_shape: Shape
) -> np.ndarray:
    """Draws latents from a prior, and checks that the decoder takes them.

    Args:
        prior: What has a method `generate(n, temperature=..., seed=...)`.
        n: Number of latents.
        temperature: Passed to the prior.
        seed: Passed to the prior.
        latent_shape: Shape of one image's latents; None where any size will do.

    Raises:
        ValueError: If it is no prior, or one of other latents.
    """
    _validation.check_positive_integer("n", n)
    _validation.check_not_negative("temperature", temperature)
    if not callable(getattr(prior, "generate", None)):
        raise ValueError(
            "`prior` must have a method `generate(n, temperature, seed)` that gives latents, as "
            f"`keras_vq.priors.GaussianMixturePrior` has. Received: {prior!r}"
        )
    latents = np.asarray(prior.generate(n, temperature=temperature, seed=seed))
    check_image_shape(latents.shape, latent_shape, "prior.generate(n)", "the decoder takes")
    return latents
