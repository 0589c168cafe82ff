"""Latent quantization (QLAE): scalar quantization to learned values."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vq import _validation
from keras_vq import ops as vq_ops
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._types import Shape, Tensor
from keras_vq.estimators import Estimator
from keras_vq.quantizers.base import Assignment
from keras_vq.quantizers.level_quantizer import LevelQuantizer


@keras.saving.register_keras_serializable("keras_vq")
class LatentQuantizer(LevelQuantizer):
    """Latent quantization (QLAE): scalar quantization to learned values in each dimension.

    Dimension d has trainable values v_d1 ... v_dL, of which the nearest replaces the component x_d:
    j_d = argmin_j |x_d - v_dj|, and q_d is the value of that number. The added loss is

        λ_q · mean |sg(x) - q|² + λ_c · mean |x - sg(q)|²

    The first term, the quantization loss, moves the values towards the vectors. The second, the
    commitment loss, moves the vectors towards the values. The code of a vector is
    Σ_i j_i ∏_{m<i} L_m. With `trainable = False` the values are constant.

    The initial values are evenly spaced in [-1/2, 1/2]. For even L the upper end is left out, so
    that 0 is one of them. The model of the paper needs strong weight decay on encoder and decoder.

    Source: Hsu et al., "Disentanglement via Latent Quantization", 2023.

    Training updates `values` (by the optimizer), which concatenates the values of all dimensions.

    Args:
        levels: List of integers, at least 2. Number of values of each dimension. Their product,
            the codebook size, is at most 2³¹ - 1.
        commitment_weight: Float, at least 0. Weight λ_c of the commitment loss. Defaults to 0.1.
        quantization_loss_weight: Float, at least 0. Weight λ_q of the quantization loss. Defaults
            to 0.1.
        estimator: Gradient estimator; see `Quantizer`. Defaults to `"straight_through"`.
        **kwargs: `return_codes` and keyword arguments of `keras.layers.Layer`; see `Quantizer`.

    Raises:
        ValueError: If an argument is out of its range, or the last dimension of the inputs is not
            the number of entries in `levels`.

    Example:
        >>> import numpy as np, keras_vq
        >>> quantizer = keras_vq.LatentQuantizer([10] * 6)
        >>> quantized, codes = quantizer(np.zeros((32, 6), "float32"))
        >>> tuple(codes.shape), quantizer.codebook_size
        ((32,), 1000000)
    """

    commitment_weight = Hyperparameter(_validation.check_not_negative)
    quantization_loss_weight = Hyperparameter(_validation.check_not_negative)

    def __init__(
        self,
        levels: Any,
        commitment_weight: float = 0.1,
        quantization_loss_weight: float = 0.1,
        estimator: str | Estimator = "straight_through",
        **kwargs: Any,
    ) -> None:
        super().__init__(levels, estimator, **kwargs)
        self.commitment_weight = commitment_weight
        self.quantization_loss_weight = quantization_loss_weight
        # The values are searched as rows of a matrix. Shorter rows repeat their last value, which
        # is never selected because ties go to the lowest number.
        places = np.arange(max(self.levels), dtype="int32")
        self._places = np.minimum(places, self._sizes[:, None] - 1) + self._starts[:, None]

    def build(self, input_shape: Shape) -> None:
        """Creates the values for vectors of shape `(..., dim)`."""
        super().build(input_shape)
        start = np.concatenate([_even_values(count) for count in self.levels])
        self.values = self.add_weight(
            name="values",
            shape=start.shape,
            initializer=lambda shape, dtype: ops.convert_to_tensor(start, dtype),
            dtype="float32",
            autocast=False,
        )

    def _find_levels(self, latents: Tensor) -> Tensor:
        """Returns the number of the nearest value of each component. Ties go to the lowest."""
        rows = ops.take(self._level_values(), self._places, axis=0)
        return vq_ops.argmax(-ops.abs(ops.expand_dims(latents, -1) - rows))

    def _level_values(self) -> Tensor:
        """Returns the values of all dimensions, concatenated, float32 `(sum of levels,)`."""
        return ops.convert_to_tensor(self.values)

    def _commitment_loss(self, assignment: Assignment) -> Tensor:
        """Computes the sum of quantization loss and commitment loss."""
        quantization_loss = self.quantization_loss_weight * vq_ops.stop_gradient_mse(
            assignment.quantized, assignment.latents, assignment.mask
        )
        return quantization_loss + self.commitment_weight * vq_ops.stop_gradient_mse(
            assignment.latents, assignment.quantized, assignment.mask
        )


def _even_values(count: int) -> np.ndarray:
    """Returns evenly spaced values from -1/2, with 0 among them."""
    values = np.linspace(-0.5, 0.5, count) if count % 2 else np.arange(count) / count - 0.5
    return values.astype("float32")
