"""Gaussian sampling with the reparameterization trick."""

from typing import Any

import keras
from keras import ops

from keras_vq._configurable import ConfigurableLayer
from keras_vq._types import Shape, Tensor


@keras.saving.register_keras_serializable("keras_vq")
class GaussianSampling(ConfigurableLayer):
    """Gaussian sampling with the reparameterization trick, z = μ + exp(½ log σ²) · ε, ε ~ N(0, I).

    Samples are differentiable with respect to mean and log-variance (Kingma and Welling,
    "Auto-Encoding Variational Bayes", 2013, section 2.4). The layer samples in training and in
    inference, and each call updates the state of its random number generator.

    Args:
        seed: Integer. Seed of the samples. Defaults to None.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        mean: Float tensor of any shape.
        log_variance: Float tensor of the same shape.

    Returns:
        Float tensor of the same shape.

    Example:
        >>> import numpy as np, keras_vq
        >>> sampling = keras_vq.layers.GaussianSampling(seed=0)
        >>> z = sampling(np.zeros((4, 2), "float32"), np.zeros((4, 2), "float32"))
        >>> tuple(z.shape)
        (4, 2)
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, mean_shape: Shape, log_variance_shape: Shape) -> None:
        """Does nothing; the argument names are those that the summary of a model passes."""

    def call(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """Samples from each Gaussian once."""
        noise = keras.random.normal(ops.shape(mean), dtype=mean.dtype, seed=self.seed_generator)
        return mean + ops.exp(0.5 * log_variance) * noise

    def compute_output_shape(self, mean_shape: Shape, log_variance_shape: Shape) -> Shape:
        """Returns the shape of the mean."""
        del log_variance_shape
        return mean_shape
