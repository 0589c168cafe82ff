"""The contract of a quantizer: what every one takes, returns and promises."""

import math
from typing import Any

import keras
from keras import ops

from keras_vq import estimators
from keras_vq._types import Shape, Tensor


class Quantizer(keras.layers.Layer):
    """Abstract layer that maps vectors to a finite set of codes.

        quantized, indices = quantizer(inputs, mask=None, training=None)

    A subclass implements `find_codes` and `decode`, and where it needs them `auxiliary_loss` and
    `update`; it does not override `call`, which does for all of them, in this order: cast to
    float32, find codes, add the loss, update (in training, unless frozen by `trainable = False`),
    estimate the gradient, cast back. The losses are in `layer.losses`, for any enclosing
    model to add.

    Args:
        estimator: How gradients pass to the inputs: `"straight_through"`, `"rotation_trick"` or
            a function of (inputs, codes); see `keras_vq.estimators`.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Float tensor of shape `(..., dim)`: any rank of at least 2, channels last.
        mask: Boolean tensor of shape `inputs.shape[:-1]`; false leaves a position out of losses
            and statistics. None keeps all.
        training: Whether state that learns from batches is updated.

    Returns:
        A pair. `quantized`: shape and dtype of the inputs; 0 where masked. `indices`: int32,
        shape `inputs.shape[:-1] + index_shape`; -1 where masked.
    """

    def __init__(
        self, estimator: str | estimators.Estimator = "straight_through", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.estimator = estimators.get(estimator)
        self.supports_masking = True

    # --- what a subclass implements

    @property
    def codebook_size(self) -> int:
        """Number of different codes a vector may become."""
        raise NotImplementedError

    @property
    def index_shape(self) -> tuple[int, ...]:
        """Axes that the indices of one vector have: () for one index, (L,) for L of them."""
        return ()

    def find_codes(self, inputs: Tensor, training: bool = False) -> tuple[Tensor, Tensor]:
        """Codes and indices of vectors; changes no state.

        Args:
            inputs: Float32 tensor of shape `(..., dim)`.
            training: Whether the codes are for a training step.

        Returns:
            Codes, float32 of the inputs' shape, and their indices, int32.
        """
        raise NotImplementedError

    def decode(self, indices: Tensor) -> Tensor:
        """The codes of indices: to the bit what a call in inference returned with them.

        Args:
            indices: Int32 tensor of shape `(...) + index_shape`; -1 gives zeros.

        Returns:
            Float32 tensor of shape `(..., dim)`.
        """
        raise NotImplementedError

    def auxiliary_loss(
        self, inputs: Tensor, codes: Tensor, indices: Tensor, mask: Tensor | None
    ) -> Tensor | None:
        """The scalar loss that this quantizer adds to the model's, or None."""
        del inputs, codes, indices, mask
        return None

    def update(self, inputs: Tensor, codes: Tensor, indices: Tensor, mask: Tensor | None) -> None:
        """Learns from a training batch whatever is not learnt by gradient."""
        del inputs, codes, indices, mask

    # --- what every quantizer does

    def call(
        self, inputs: Tensor, mask: Tensor | None = None, training: bool | None = None
    ) -> tuple[Tensor, Tensor]:
        """Quantizes; see the class."""
        vectors = ops.cast(inputs, "float32")
        mask = self._checked_mask(mask, inputs.shape)
        if mask is not None:
            # A masked position may hold anything, even NaN: neither it nor its gradient counts.
            vectors = ops.where(mask[..., None], vectors, 0.0)

        codes, indices = self.find_codes(vectors, training=bool(training))
        loss = self.auxiliary_loss(vectors, codes, indices, mask)
        if loss is not None:
            self.add_loss(loss)
        if training and self.trainable:
            detached = ops.stop_gradient(vectors), ops.stop_gradient(codes)
            self.update(*detached, indices, mask)
        quantized = self.estimator(vectors, codes)

        if mask is not None:
            quantized = ops.where(mask[..., None], quantized, 0.0)
            indices = ops.where(self._over_index_axes(mask), indices, -1)
        return ops.cast(quantized, inputs.dtype), indices

    def encode(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Indices of vectors, as a call in inference gives them; changes no state.

        Args:
            inputs: Float tensor of shape `(..., dim)`.
            mask: Boolean tensor of shape `inputs.shape[:-1]`, or None.

        Returns:
            Int32 tensor of shape `inputs.shape[:-1] + index_shape`; -1 where masked.
        """
        inputs = ops.convert_to_tensor(inputs)
        if not self.built:
            self.build(inputs.shape)
        _, indices = self.find_codes(ops.cast(inputs, "float32"))
        mask = self._checked_mask(mask, inputs.shape)
        if mask is None:
            return indices
        return ops.where(self._over_index_axes(mask), indices, -1)

    @property
    def bits_per_vector(self) -> float:
        """Bits that the indices of one vector take, all codes being equally likely."""
        return math.log2(self.codebook_size)

    def compute_output_spec(
        self,
        inputs: keras.KerasTensor,
        mask: Tensor | None = None,
        training: bool | None = None,
    ) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        """Shapes and dtypes of what a call returns."""
        del mask, training
        indices_shape = tuple(inputs.shape[:-1]) + self.index_shape
        return (
            keras.KerasTensor(inputs.shape, dtype=inputs.dtype),
            keras.KerasTensor(indices_shape, dtype="int32"),
        )

    def compute_output_shape(self, input_shape: Shape) -> tuple[Shape, Shape]:
        """Shapes of what a call returns."""
        return tuple(input_shape), tuple(input_shape[:-1]) + self.index_shape

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor | None = None) -> Any:
        """A mask of the inputs is one of the quantized vectors, and of the indices."""
        del inputs
        return None if previous_mask is None else (previous_mask, previous_mask)

    def build(self, input_shape: Shape) -> None:
        """Checks the inputs' shape and remembers their dimension."""
        if len(input_shape) < 2 or input_shape[-1] is None:
            raise ValueError(
                f"{type(self).__name__} needs inputs of shape (..., dim), of rank 2 or more and "
                f"with a known last axis. Received: shape {tuple(input_shape)}"
            )
        self.dim = int(input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "estimator": keras.saving.serialize_keras_object(self.estimator),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Quantizer":
        """The quantizer of a configuration, its parts with it."""
        parts = ("dtype", "name", "trainable")
        return cls(
            **{
                key: value if key in parts else keras.saving.deserialize_keras_object(value)
                for key, value in config.items()
            }
        )

    def _checked_mask(self, mask: Tensor | None, input_shape: Shape) -> Tensor | None:
        if mask is None:
            return None
        mask = ops.cast(mask, "bool")
        if len(mask.shape) != len(input_shape) - 1:
            raise ValueError(
                f"`mask` must have the shape of the inputs without their last axis, "
                f"{tuple(input_shape[:-1])}. Received: shape {tuple(mask.shape)}"
            )
        return mask

    def _over_index_axes(self, mask: Tensor) -> Tensor:
        return ops.reshape(mask, tuple(ops.shape(mask)) + (1,) * len(self.index_shape))
