"""Distributions over latents, to draw new ones from."""

from keras_vq.priors.gaussian_mixture import GaussianMixturePrior

__all__ = ["GaussianMixturePrior"]
