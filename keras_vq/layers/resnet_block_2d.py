"""Residual block with group normalization, as in latent diffusion."""

from typing import Any

import keras
from keras import layers, ops

from keras_vq import _validation
from keras_vq._configurable import ConfigurableLayer
from keras_vq._types import Shape, Tensor


@keras.saving.register_keras_serializable("keras_vq")
class ResNetBlock2D(ConfigurableLayer):
    """Residual block x + F(x) with group normalization before each of two 3x3 convolutions.

    F is normalization, activation, convolution, normalization, activation, dropout, convolution. If
    the number of channels changes, a 1x1 convolution is applied to x. Sources: He et al., "Identity
    Mappings in Deep Residual Networks", 2016; this form: Ho et al., "Denoising Diffusion
    Probabilistic Models", 2020, and Esser et al., "Taming Transformers for High-Resolution Image
    Synthesis" (VQGAN), 2020.

    Args:
        filters: Integer. Channels of the output.
        groups: Integer. Groups of each normalization, a divisor of the numbers of channels.
            Defaults to 32.
        dropout: Float in [0, 1). Dropout rate. Defaults to 0.0.
        activation: String or function. Defaults to `"silu"`.
        rematerialize: Boolean. Whether training recomputes F in the backward pass
            (`keras.remat`), which takes more time and less memory. Defaults to `False`.
        epsilon: Float. Constant added to variances. Defaults to 1e-6.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Float tensor of shape `(batch, height, width, channels)`.
        training: Boolean. Whether dropout and rematerialization are active. Defaults to `False`.

    Output shape:
        `(batch, height, width, filters)`.

    Raises:
        ValueError: If an argument is out of range, or `groups` does not divide the channels.

    Example:
        >>> import numpy as np, keras_vq
        >>> block = keras_vq.layers.ResNetBlock2D(64, groups=8)
        >>> tuple(block(np.zeros((1, 8, 8, 32), "float32")).shape)
        (1, 8, 8, 64)
    """

    def __init__(
        self,
        filters: int,
        groups: int = 32,
        dropout: float = 0.0,
        activation: Any = "silu",
        rematerialize: bool = False,
        epsilon: float = 1e-6,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = _validation.check_positive_integer("filters", filters)
        self.groups = _validation.check_positive_integer("groups", groups)
        self.dropout = _validation.check_fraction("dropout", dropout)
        self.activation = keras.activations.get(activation)
        self.rematerialize = rematerialize
        self.epsilon = _validation.check_positive("epsilon", epsilon)
        self.drop = layers.Dropout(dropout, dtype=self.dtype_policy) if dropout else None

    def build(self, input_shape: Shape) -> None:
        """Creates the normalizations and convolutions."""
        output_shape = self.compute_output_shape(input_shape)
        self.norm1 = group_normalization(self, input_shape)
        self.conv1 = self._convolution(3, input_shape)
        self.norm2 = group_normalization(self, output_shape)
        self.conv2 = self._convolution(3, output_shape)
        changes = input_shape[-1] != self.filters
        self.shortcut = self._convolution(1, input_shape) if changes else None

    def _convolution(self, kernel_size: int, input_shape: Shape) -> layers.Conv2D:
        convolution = layers.Conv2D(
            self.filters,
            kernel_size,
            padding="same",
            data_format="channels_last",
            dtype=self.dtype_policy,
        )
        convolution.build(input_shape)
        return convolution

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        """Applies the block."""
        # Without `None`, which TensorFlow does not accept in a recomputation.
        kept: tuple[Tensor, ...] = ()
        if self.drop is not None and training:
            # Drawn here, because a recomputation would draw other random numbers.
            shape = (*ops.shape(inputs)[:-1], self.filters)
            kept = (self.drop(ops.ones(shape, self.compute_dtype), training=True),)
        residual = (
            keras.remat(self._residual) if self.rematerialize and training else self._residual
        )
        skipped = inputs if self.shortcut is None else self.shortcut(inputs)
        return skipped + residual(inputs, *kept)

    def _residual(self, inputs: Tensor, kept: Tensor | None = None) -> Tensor:
        """Computes F, with a factor per value for dropout."""
        x = self.conv1(self.activation(self.norm1(inputs)))
        x = self.activation(self.norm2(x))
        return self.conv2(x if kept is None else x * kept)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns the input shape with `filters` channels."""
        return (*input_shape[:-1], self.filters)


def group_normalization(owner: Any, input_shape: Shape) -> layers.GroupNormalization:
    """Returns a built group normalization with the settings of a layer.

    Raises:
        ValueError: If the groups do not divide the channels.
    """
    channels = input_shape[-1]
    if channels is None or channels % owner.groups:
        raise ValueError(
            f"`groups` must divide the number of channels, {channels}. "
            f"Received: groups={owner.groups}"
        )
    normalization = layers.GroupNormalization(
        owner.groups, axis=-1, epsilon=owner.epsilon, dtype=owner.dtype_policy
    )
    normalization.build(input_shape)
    return normalization
