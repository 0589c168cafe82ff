"""Latent quantization: each number of a vector takes a value of a learnt list."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vq import _validation
from keras_vq import ops as vq_ops
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._types import Shape, Tensor
from keras_vq.estimators import Estimator
from keras_vq.quantizers.level_quantizer import LevelQuantizer


@keras.saving.register_keras_serializable("keras_vq")
class LatentQuantizer(LevelQuantizer):
    """Replaces each number of a vector by the nearest of a list of values of its dimension.

    Dimension d has values v_d1 ... v_dL that learn by gradient: j_d = argmin_j |x_d - v_dj|,
    q_d = v_dj, and the added loss is

        λ_q · mean |sg(x) - q|² + λ_c · mean |x - sg(q)|²

    whose first term, the quantization loss, pulls values to the vectors, and whose second, the
    commitment loss, vectors to the values. Index = Σ_i j_i ∏_{j<i} L_j. Frozen
    (`trainable = False`), the values stay.

    Values start evenly over [-1/2, 1/2], without the upper end if L is even, so that 0 is among
    them. The paper's model needs a strong weight decay on encoder and decoder.

    Source: Hsu et al., "Disentanglement via Latent Quantization", 2023.

    State that changes in training: `values` (by the optimizer), those of all dimensions in one
    row.

    Args:
        levels: Number of values of each dimension, a list of whole numbers of at least 2. Their
            product, the number of codes, is at most 2³¹ - 1.
        commitment: λ_c, weight of the commitment loss, at least 0.
        quantization: λ_q, weight of the quantization loss, at least 0.
        estimator: How gradients pass to the inputs; see `Quantizer`.
        **kwargs: `return_codes` and `keras.layers.Layer` arguments; see `Quantizer`.

    Raises:
        ValueError: If an argument is out of its range, or inputs have another dimension than
            there are levels.

    Example:
        >>> import numpy as np, keras_vq
        >>> quantizer = keras_vq.LatentQuantizer([10] * 6)
        >>> quantized, indices = quantizer(np.zeros((32, 6), "float32"))
        >>> tuple(indices.shape), quantizer.codebook_size
        ((32,), 1000000)
    """

    commitment = Hyperparameter(_validation.check_not_negative)
    quantization = Hyperparameter(_validation.check_not_negative)

    def __init__(
        self,
        levels: Any,
        commitment: float = 0.1,
        quantization: float = 0.1,
        estimator: str | Estimator = "straight_through",
        **kwargs: Any,
    ) -> None:
        super().__init__(levels, estimator, **kwargs)
        self.commitment = commitment
        self.quantization = quantization
        # Lists are searched as rows of a matrix; a shorter one repeats its last value, which
        # never wins against the same value at a lower number.
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

    def find_levels(self, latents: Tensor) -> Tensor:
        """The number of the nearest value in each dimension; the lowest wins a tie."""
        rows = ops.take(self.values_of_levels(), self._places, axis=0)
        return vq_ops.first_maximum(-ops.abs(ops.expand_dims(latents, -1) - rows))

    def values_of_levels(self) -> Tensor:
        """The values of all dimensions in one row."""
        return ops.convert_to_tensor(self.values)

    def commitment_loss(
        self, latents: Tensor, codes: Tensor, indices: Tensor, mask: Tensor | None
    ) -> Tensor:
        """The quantization loss and the commitment loss."""
        del indices
        quantization = self.quantization * vq_ops.error_to_fixed(codes, latents, mask)
        return quantization + self.commitment * vq_ops.error_to_fixed(latents, codes, mask)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "commitment": self.commitment,
            "quantization": self.quantization,
        }


def _even_values(count: int) -> np.ndarray:
    """Evenly spaced values from -1/2 with 0 among them."""
    values = np.linspace(-0.5, 0.5, count) if count % 2 else np.arange(count) / count - 0.5
    return values.astype("float32")
