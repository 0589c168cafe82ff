"""Index backpropagation quantization (IBQ)."""

from typing import Any

import keras
from keras import ops

from keras_vq import _search, _validation
from keras_vq import ops as vq_ops
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._types import Shape, Tensor
from keras_vq.losses.entropy import EntropyLoss, as_entropy
from keras_vq.quantizers.base import Assignment, Quantizer
from keras_vq.quantizers.gumbel_softmax_quantizer import code_with_gradient_of_shares


@keras.saving.register_keras_serializable("keras_vq")
class IndexBackpropagationQuantizer(Quantizer):
    """Index backpropagation quantization (IBQ): every code vector gets a gradient.

    With a codebook C of K code vectors, logits l = x Cᵀ, p = softmax(l), k = argmax l and q = c_k:

        y = (onehot(k) + p - sg(p)) C

    The value of y equals q bit for bit. Its gradient passes through p to the inputs and to all code
    vectors, so that every code vector is updated. The added loss is

        mean |y - x|² + mean |sg(q) - x|² + β · mean |q - sg(x)|²

    as in the authors' implementation, with means over vectors and dimensions. In training a score
    per vector and code is stored. In inference scores are computed in blocks, and the inputs get a
    gradient from the loss only.

    Source: Shi et al., "Scalable Image Tokenization with Index Backpropagation Quantization",
    2024.

    Training updates `embeddings` (by the optimizer).

    Args:
        codebook_size: Integer. Number of code vectors, K.
        codebook_loss_weight: Float, at least 0. Weight β of the codebook loss, the last term.
            Defaults to 0.25.
        entropy_loss: A `losses.EntropyLoss` of the distribution softmax(l / T), a float or `None`.
            A float is the weight of both entropy terms, at the authors' temperature T = 0.01; 0 or
            `None` disables the entropy loss, which leads to dead codes within a few hundred steps.
            Defaults to 0.1.
        **kwargs: `return_codes` and keyword arguments of `keras.layers.Layer`; see `Quantizer`.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import numpy as np, keras_vq
        >>> quantizer = keras_vq.IndexBackpropagationQuantizer(1024)
        >>> quantized, codes = quantizer(np.zeros((2, 7, 7, 16), "float32"))
        >>> tuple(quantized.shape), tuple(codes.shape)
        ((2, 7, 7, 16), (2, 7, 7))
    """

    _hint_without_estimator = (
        "The gradient is that of the softmax over the code vectors. Remove the argument."
    )
    codebook_loss_weight = Hyperparameter(_validation.check_not_negative)

    def __init__(
        self,
        codebook_size: int,
        codebook_loss_weight: float = 0.25,
        entropy_loss: float | EntropyLoss | None = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.size = _validation.check_positive_integer("codebook_size", codebook_size)
        self.codebook_loss_weight = codebook_loss_weight
        self.entropy_loss = as_entropy(entropy_loss)

    def build(self, input_shape: Shape) -> None:
        """Creates the code vectors for vectors of shape `(..., dim)`."""
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
        """Codebook size K, as a tuple with one entry."""
        return (self.size,)

    def _search_codes(self, latents: Tensor, training: bool = False) -> Tensor:
        """Returns the argmax of the inner products. Ties go to the lowest code."""
        del training
        columns = ops.stop_gradient(self._centered_columns())

        def largest(rows: Tensor) -> Tensor:
            return vq_ops.argmax(ops.matmul(rows, columns))

        return _search.map_rows(largest, ops.stop_gradient(latents), self.size)

    def _search(self, latents: Tensor, training: bool = False, **context: Any) -> Assignment:
        """Returns the code vectors and their codes.

        In training the code vectors have the gradient of the softmax over the codebook.
        """
        if not training:
            return super()._search(latents, **context)
        logits = self._logits(latents)
        codes = vq_ops.argmax(logits)
        shares = ops.softmax(logits, axis=-1)
        quantized = code_with_gradient_of_shares(codes, shares, self.embeddings)
        return Assignment(latents, quantized, codes)

    def _lookup(self, codes: Tensor) -> Tensor:
        """Looks up the code vectors of codes."""
        return ops.take(ops.convert_to_tensor(self.embeddings), codes, axis=0)

    def _commitment_loss(self, assignment: Assignment) -> Tensor:
        """Computes the sum of the three terms of the loss, without the entropy loss."""
        terms = [
            (1.0, assignment.quantized - assignment.latents),
            (1.0, ops.stop_gradient(assignment.quantized) - assignment.latents),
            (
                self.codebook_loss_weight,
                self._lookup(assignment.codes) - ops.stop_gradient(assignment.latents),
            ),
        ]
        errors = sum(weight * ops.mean(ops.square(error), axis=-1) for weight, error in terms)
        return vq_ops.masked_mean(errors, assignment.mask)

    def _auxiliary_loss(self, assignment: Assignment) -> Tensor | float:
        """Computes the entropy loss, or returns 0 without one."""
        return (
            0.0
            if self.entropy_loss is None
            else self.entropy_loss(-self._logits(assignment.latents), assignment.mask)
        )

    def _estimate(self, latents: Tensor, quantized: Any, training: bool = False) -> Tensor:
        """Returns the code vectors unchanged: `_search` provides their gradient."""
        del latents, training
        return self._project_out(quantized)

    def set_embeddings(self, embeddings: Any) -> None:
        """Sets the code vectors; see `Quantizer.set_embeddings`."""
        self._set_own_embeddings(embeddings)

    def _logits(self, latents: Tensor) -> Tensor:
        return ops.matmul(latents, self._centered_columns())

    def _centered_columns(self) -> Tensor:
        """Returns the code vectors as columns, less a common offset that cancels in the softmax."""
        embeddings = ops.convert_to_tensor(self.embeddings)
        return ops.transpose(embeddings - _search.code_center(embeddings))
