"""Index backpropagation quantization: every code has a gradient from every vector."""

from typing import Any

import keras
from keras import ops

from keras_vq import _validation
from keras_vq import ops as vq_ops
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._types import Shape, Tensor
from keras_vq.losses.code_entropy import CodeEntropy, as_entropy
from keras_vq.quantizers.base import Quantizer
from keras_vq.quantizers.categorical_quantizer import code_with_gradient_of_shares


@keras.saving.register_keras_serializable("keras_vq")
class IndexBackpropagationQuantizer(Quantizer):
    """Replaces each vector by the code of the largest inner product, with a soft gradient.

    With codes C (K of them), logits l = x Cᵀ, p = softmax(l), k = argmax l and q = c_k:

        y = (onehot(k) + p - sg(p)) C

    whose value is q to the bit and whose gradient passes p to the inputs and to all codes, so
    that none is left behind. The added loss is

        mean |y - x|² + mean |sg(q) - x|² + β · mean |q - sg(x)|²

    as in the authors' implementation, with means over vectors and dimensions. Training holds a
    score for every vector and code; inference does not, and there y has no gradient for the
    inputs but that of the loss.

    Source: Shi et al., "Scalable Image Tokenization with Index Backpropagation Quantization",
    2024.

    State that changes in training: `embeddings` (by the optimizer).

    Args:
        codebook_size: Number of codes, K.
        codebook_weight: β, weight of the last term, which pulls codes to the vectors, at least 0.
        entropy: A `losses.CodeEntropy` of the distribution softmax(l / T); or a number, the
            weight of both its terms at T = 0.01, the authors' temperature; 0 or None for none.
            Without it codes fall out of use within a few hundred steps.
        **kwargs: `return_codes` and `keras.layers.Layer` arguments; see `Quantizer`.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import numpy as np, keras_vq
        >>> quantizer = keras_vq.IndexBackpropagationQuantizer(1024)
        >>> quantized, indices = quantizer(np.zeros((2, 7, 7, 16), "float32"))
        >>> tuple(quantized.shape), tuple(indices.shape)
        ((2, 7, 7, 16), (2, 7, 7))
    """

    hint_without_estimator = (
        "Its gradient is that of the softmax over the codes: remove the argument."
    )
    codebook_weight = Hyperparameter(_validation.check_not_negative)

    def __init__(
        self,
        codebook_size: int,
        codebook_weight: float = 0.25,
        entropy: float | CodeEntropy | None = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.size = _validation.check_positive_integer("codebook_size", codebook_size)
        self.codebook_weight = codebook_weight
        self.entropy = as_entropy(entropy)

    def build(self, input_shape: Shape) -> None:
        """Creates the codes for vectors of shape `(..., dim)`."""
        super().build(input_shape)
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(self.size, self.dim),
            initializer=keras.initializers.VarianceScaling(mode="fan_out", distribution="uniform"),
            dtype="float32",
            autocast=False,
        )

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """The number of codes, K."""
        return (self.size,)

    def find_indices(self, latents: Tensor, training: bool = False) -> Tensor:
        """The index of the largest inner product; the lowest wins a tie."""
        del training
        columns = ops.stop_gradient(self._centered_columns())

        def largest(rows: Tensor) -> Tensor:
            return vq_ops.first_maximum(ops.matmul(rows, columns))

        return vq_ops.map_rows(largest, ops.stop_gradient(latents), self.size)

    def find_codes(
        self, latents: Tensor, training: bool = False, **context: Any
    ) -> tuple[Tensor, Tensor]:
        """The codes, in training with the gradient of the distribution over them."""
        if not training:
            return super().find_codes(latents, **context)
        logits = self._logits(latents)
        indices = vq_ops.first_maximum(logits)
        shares = ops.softmax(logits, axis=-1)
        return code_with_gradient_of_shares(indices, shares, self.embeddings), indices

    def lookup(self, indices: Tensor) -> Tensor:
        """The codes of indices."""
        return ops.take(ops.convert_to_tensor(self.embeddings), indices, axis=0)

    def commitment_loss(
        self, latents: Tensor, codes: Tensor, indices: Tensor, mask: Tensor | None
    ) -> Tensor:
        """The three terms that pull vectors and codes together."""
        terms = [
            (1.0, codes - latents),
            (1.0, ops.stop_gradient(codes) - latents),
            (self.codebook_weight, self.lookup(indices) - ops.stop_gradient(latents)),
        ]
        errors = sum(weight * ops.mean(ops.square(error), axis=-1) for weight, error in terms)
        return vq_ops.masked_mean(errors, mask)

    def auxiliary_loss(
        self, latents: Tensor, codes: Tensor, indices: Tensor, mask: Tensor | None
    ) -> Tensor | float:
        """The entropy loss, if there is one."""
        return 0.0 if self.entropy is None else self.entropy(-self._logits(latents), mask)

    def estimate(self, latents: Tensor, codes: Any, training: bool = False) -> Tensor:
        """The codes: they have the gradient already."""
        del latents, training
        return self.project_out(codes)

    def set_embeddings(self, embeddings: Any) -> None:
        """Sets the code vectors; see `Quantizer.set_embeddings`."""
        self._set_own_embeddings(embeddings)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "codebook_size": self.size,
            "codebook_weight": self.codebook_weight,
            "entropy": keras.saving.serialize_keras_object(self.entropy),
        }

    def _logits(self, latents: Tensor) -> Tensor:
        return ops.matmul(latents, self._centered_columns())

    def _centered_columns(self) -> Tensor:
        """Returns the codes as columns, less what would add the same to all logits of a vector."""
        codes = ops.convert_to_tensor(self.embeddings)
        return ops.transpose(codes - vq_ops.code_center(codes))
