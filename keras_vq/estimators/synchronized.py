"""Synchronized straight-through estimator."""

from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq._hyperparameter import Configurable, Hyperparameter
from keras_vq._types import Tensor
from keras_vq.ops import with_value


@keras.saving.register_keras_serializable("keras_vq")
class Synchronized(Configurable):
    """Synchronized straight-through estimator: code vectors get a share ν of the gradient too.

    outputs = q + (x - sg(x)) + ν (q - sg(q)). The code vectors move together with their inputs
    instead of one step later. The estimator needs a codebook that is trained by gradient
    (`keras_vq.Codebook`).

    Source: Huh et al., "Straightening Out the Straight-Through Estimator", 2023, section 4.3.

    Args:
        share: Float, at least 0. Share ν of the gradient for the code vectors: 0.2 to 2 in the
            paper; 0 is the straight-through estimator.

    Raises:
        ValueError: If `share` is negative.

    Example:
        >>> import keras_vq
        >>> quantizer = keras_vq.VectorQuantizer(
        ...     keras_vq.Codebook(512), estimator=keras_vq.estimators.Synchronized(0.5)
        ... )
    """

    share = Hyperparameter(_validation.check_not_negative)

    def __init__(self, share: float) -> None:
        self.share = share

    def __call__(self, inputs: Tensor, codes: Tensor, training: bool = False) -> Tensor:
        """Returns the code vectors, with gradients to inputs and code vectors."""
        del training
        inputs, codes = ops.convert_to_tensor(inputs), ops.convert_to_tensor(codes)
        return with_value(codes, inputs + self.share * codes)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments."""
        return {"share": self.share}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Synchronized":
        """Creates the estimator from its configuration."""
        return cls(**config)
