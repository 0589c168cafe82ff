"""Bernoulli negative log-likelihood, the default reconstruction loss of the VAE."""

from typing import Any

import keras
from keras import ops

from keras_vq._types import Tensor


@keras.saving.register_keras_serializable("keras_vq")
class BernoulliNegativeLogLikelihood(keras.losses.Loss):
    """Bernoulli negative log-likelihood of images, in nats per image.

    For pixels x and probabilities p it is -Σ (x log p + (1 - x) log(1 - p)), the binary
    cross-entropy summed over the pixels of an image. With the KL divergence summed over latents it
    gives the negative evidence lower bound (ELBO). A mean over pixels would multiply the weight of
    the KL divergence by the number of pixels, and lead to posterior collapse. Gray pixels in (0, 1)
    are interpreted as the probability of white (Kingma and Welling, "Auto-Encoding Variational
    Bayes", 2013, appendix C.1).

    Args:
        reduction: String. Keras reduction over the batch. Defaults to `"sum_over_batch_size"`, the
            mean over images.
        name: String. Name of the loss. Defaults to `"bernoulli_negative_log_likelihood"`.
        **kwargs: Arguments of `keras.losses.Loss`.

    Call arguments:
        y_true: Images in [0, 1], of shape `(batch, ...)`.
        y_pred: Probabilities in [0, 1], of the same shape.

    Example:
        >>> import numpy as np, keras_vq
        >>> loss = keras_vq.losses.BernoulliNegativeLogLikelihood()
        >>> float(loss(np.ones((2, 4)), np.full((2, 4), 0.5))) / 4  # log 2 per pixel
        0.69314...
    """

    def __init__(
        self,
        reduction: str = "sum_over_batch_size",
        name: str = "bernoulli_negative_log_likelihood",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, reduction=reduction, **kwargs)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Computes the nats per image: shape `(batch,)`."""
        per_pixel = keras.losses.binary_crossentropy(y_true[..., None], y_pred[..., None])
        return ops.sum(ops.reshape(per_pixel, (ops.shape(per_pixel)[0], -1)), axis=1)
