"""Sampling of a Gaussian by the reparameterization trick."""

from typing import Any

import keras
from keras import ops

from keras_vq._hyperparameter import ConfigurableLayer
from keras_vq._types import Shape, Tensor


@keras.saving.register_keras_serializable("keras_vq")
class GaussianSampling(ConfigurableLayer):
    """Draws z = μ + exp(½ log σ²) · ε, with ε from the standard normal distribution.

    The draw is differentiable in mean and variance (Kingma and Welling, "Auto-Encoding
    Variational Bayes", 2013, section 2.4). It is made in training and in inference alike.

    State that changes at each call: that of the random number generator.

    Args:
        seed: Seed of the draws.
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
        """Does nothing: names the shapes as Keras's summary passes them on."""

    def call(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """Draws one sample of each Gaussian."""
        noise = keras.random.normal(ops.shape(mean), dtype=mean.dtype, seed=self.seed_generator)
        return mean + ops.exp(0.5 * log_variance) * noise

    def compute_output_shape(self, mean_shape: Shape, log_variance_shape: Shape) -> Shape:
        """The mean's shape."""
        del log_variance_shape
        return mean_shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "seed": self.seed}
