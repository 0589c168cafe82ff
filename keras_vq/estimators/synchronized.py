"""The synchronized estimator, by which codes get the task's gradient too."""

from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq._hyperparameter import Configurable, Hyperparameter
from keras_vq._types import Tensor
from keras_vq.ops import with_value


@keras.saving.register_keras_serializable("keras_vq")
class Synchronized(Configurable):
    """Straight-through for the inputs, and a share ν of the same gradient for the codes.

    The codes then move with the inputs that chose them, instead of lagging one step behind:
    outputs = q + (x - sg(x)) + ν (q - sg(q)). It takes codes that learn by gradient
    (`keras_vq.Codebook`).

    Source: Huh et al., "Straightening Out the Straight-Through Estimator", 2023, section 4.3.

    Args:
        share: ν, at least 0; 0 is the straight-through estimator. The paper: 0.2 to 2.

    Raises:
        ValueError: If it is negative.

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
        """Codes, with gradients for inputs and codes."""
        del training
        inputs, codes = ops.convert_to_tensor(inputs), ops.convert_to_tensor(codes)
        return with_value(codes, inputs + self.share * codes)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"share": self.share}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Synchronized":
        """The estimator of a configuration."""
        return cls(**config)
