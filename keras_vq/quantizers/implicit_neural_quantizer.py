"""Implicit neural quantizer: vector quantization with one stage of QINCo."""

from typing import Any

import keras
from keras import ops

from keras_vq import _search, _validation
from keras_vq import ops as vq_ops
from keras_vq._building import build_part
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._types import Shape, Tensor
from keras_vq.estimators import Estimator
from keras_vq.layers.implicit_neural_codebook import ImplicitNeuralCodebook
from keras_vq.quantizers.base import Assignment, Quantizer


@keras.saving.register_keras_serializable("keras_vq")
class ImplicitNeuralQuantizer(Quantizer):
    """Vector quantizer with a codebook predicted by a network: one stage of QINCo.

    The network computes K code vectors for each vector from a context. In a stage of
    `ResidualQuantizer` the context is the partial reconstruction, the sum of the previous stages;
    in the first stage, or outside `ResidualQuantizer`, it is zero. Each vector is replaced by the
    nearest of its code vectors. The loss is mean |sg(x) - e|² + β · mean |x - sg(e)|²; its gradient
    trains the base code vectors and the network.

    The search evaluates the network K times per vector.

    Source: Huijben et al., "Residual Quantization with Implicit Neural Codebooks" (QINCo), 2024.

    Args:
        codebook_size: Integer. Number of code vectors, K.
        network: Layer that maps the concatenation of context and base code vector, of shape
            `(..., 2 * dim)`, to a code vector, of shape `(..., dim)`. Defaults to `None`, for a
            `layers.ImplicitNeuralCodebook`.
        commitment_weight: Float, at least 0. Weight β of the commitment loss. Defaults to 0.25.
        estimator: Gradient estimator; see `Quantizer`. Defaults to `"straight_through"`.
        **kwargs: `return_codes` and keyword arguments of `keras.layers.Layer`; see `Quantizer`.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import numpy as np, keras_vq
        >>> stages = [keras_vq.VectorQuantizer(codebook=keras_vq.GradientCodebook(16))]
        >>> stages += [keras_vq.ImplicitNeuralQuantizer(16) for _ in range(3)]
        >>> quantizer = keras_vq.ResidualQuantizer(stages)
        >>> quantized, codes = quantizer(np.zeros((10, 8), "float32"))
        >>> tuple(codes.shape)
        (10, 4)
    """

    _takes_context = True

    commitment_weight = Hyperparameter(_validation.check_not_negative)

    def __init__(
        self,
        codebook_size: int,
        network: keras.Layer | None = None,
        commitment_weight: float = 0.25,
        estimator: str | Estimator = "straight_through",
        **kwargs: Any,
    ) -> None:
        super().__init__(estimator, **kwargs)
        self.size = _validation.check_positive_integer("codebook_size", codebook_size)
        self.network = network
        self.commitment_weight = commitment_weight

    def build(self, input_shape: Shape) -> None:
        """Creates the base code vectors and the network for vectors of shape `(..., dim)`."""
        super().build(input_shape)
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(self.size, self.dim),
            initializer=keras.initializers.VarianceScaling(mode="fan_out", distribution="uniform"),
            dtype="float32",
            autocast=False,
        )
        self.code_network = (
            ImplicitNeuralCodebook(dtype="float32") if self.network is None else self.network
        )
        shape = build_part(self.code_network, (None, 2 * self.dim))
        if shape != (None, self.dim):
            raise ValueError(
                f"`network` must map shape (..., {2 * self.dim}) to (..., {self.dim}). "
                f"Received: a layer that returns shape {shape}"
            )

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codebook size K, as a tuple with one entry."""
        return (self.size,)

    def _search_codes(
        self, latents: Tensor, training: bool = False, context: Tensor | None = None
    ) -> Tensor:
        """Finds the nearest code vector of each vector, given its context."""
        del training
        return self._nearest(latents, 1, context)[..., 0]

    def _lookup(self, codes: Tensor, context: Tensor | None = None) -> Tensor:
        """Computes the code vectors of codes, given their contexts."""
        base = ops.take(ops.convert_to_tensor(self.embeddings), codes, axis=0)
        context = ops.zeros_like(base) if context is None else context
        return self._code_vectors(context, base)

    def nearest_codes(
        self, inputs: Tensor, count: int, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns the `count` nearest code vectors of each vector and their codes, nearest first.

        See `VectorQuantizer.nearest_codes`. `context` has the shape of the inputs, or is `None` for
        zeros.
        """
        latents = ops.cast(inputs, "float32")
        codes = self._nearest(latents, count, context)
        if context is not None:
            shape = (*ops.shape(latents)[:-1], count, self.dim)
            context = ops.broadcast_to(context[..., None, :], shape)
        return self._lookup(codes, context), codes

    def _commitment_loss(self, assignment: Assignment) -> Tensor:
        """Computes the sum of commitment loss and codebook loss."""
        commitment = self.commitment_weight * vq_ops.stop_gradient_mse(
            assignment.latents, assignment.quantized, assignment.mask
        )
        return commitment + vq_ops.stop_gradient_mse(
            assignment.quantized, assignment.latents, assignment.mask
        )

    def set_embeddings(self, embeddings: Any) -> None:
        """Sets the base code vectors, the input of the network; see `Quantizer.set_embeddings`."""
        self._set_own_embeddings(embeddings)

    def _code_vectors(self, context: Tensor, base: Tensor) -> Tensor:
        pairs = ops.concatenate([context, base], axis=-1)
        if not isinstance(self.code_network, keras.Model):
            return ops.cast(self.code_network(pairs), "float32")
        # A `keras.Model` accepts only inputs of the rank that it was built for.
        quantized = self.code_network(ops.reshape(pairs, (-1, pairs.shape[-1])))
        return ops.reshape(ops.cast(quantized, "float32"), ops.shape(base))

    def _nearest(self, latents: Tensor, count: int, context: Tensor | None) -> Tensor:
        """Returns the nearest codes, `(..., dim)` -> `(..., count)`, without gradient."""
        context = ops.zeros_like(latents) if context is None else context
        rows = ops.stop_gradient(ops.concatenate([latents, context], axis=-1))
        base = ops.stop_gradient(ops.convert_to_tensor(self.embeddings))

        def best(rows: Tensor) -> Tensor:
            vectors, contexts = ops.split(rows[..., None, :], 2, axis=-1)
            shape = (*ops.shape(rows)[:-1], self.size, self.dim)
            pairs = ops.broadcast_to(contexts, shape), ops.broadcast_to(base, shape)
            distances = ops.sum(ops.square(vectors - self._code_vectors(*pairs)), axis=-1)
            return ops.cast(ops.top_k(-distances, count)[1], "int32")

        return ops.stop_gradient(_search.map_rows(best, rows, self.size * 2 * self.dim))
