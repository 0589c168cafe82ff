"""Self-attention over the positions of a feature map, as in latent diffusion."""

from typing import Any

import keras
from keras import layers, ops

from keras_vq import _validation
from keras_vq._configurable import ConfigurableLayer
from keras_vq._types import Shape, Tensor
from keras_vq.layers.resnet_block_2d import group_normalization


@keras.saving.register_keras_serializable("keras_vq")
class SelfAttention2D(ConfigurableLayer):
    """Single-head self-attention over all positions of a feature map, as a residual block.

    x + out(softmax(q kᵀ / √channels) v), where q, k and v are projections of the group-normalized
    x. The memory grows with the square of height x width. Source: Ho et al., "Denoising Diffusion
    Probabilistic Models", 2020; in autoencoders: Esser et al., "Taming Transformers for
    High-Resolution Image Synthesis" (VQGAN), 2020.

    Args:
        groups: Integer. Groups of the normalization, a divisor of the channels. Defaults to 32.
        rematerialize: Boolean. Whether training recomputes the block in the backward pass
            (`keras.remat`), which takes more time and less memory. Defaults to `False`.
        epsilon: Float. Constant added to variances. Defaults to 1e-6.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Float tensor of shape `(batch, height, width, channels)`.
        training: Boolean. Whether rematerialization is active. Defaults to `False`.

    Raises:
        ValueError: If an argument is out of range, or `groups` does not divide the channels.

    Example:
        >>> import numpy as np, keras_vq
        >>> attention = keras_vq.layers.SelfAttention2D(groups=8)
        >>> tuple(attention(np.zeros((1, 4, 4, 32), "float32")).shape)
        (1, 4, 4, 32)
    """

    def __init__(
        self,
        groups: int = 32,
        rematerialize: bool = False,
        epsilon: float = 1e-6,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.groups = _validation.check_positive_integer("groups", groups)
        self.rematerialize = rematerialize
        self.epsilon = _validation.check_positive("epsilon", epsilon)

    def build(self, input_shape: Shape) -> None:
        """Creates the normalization and the projections."""
        self.norm = group_normalization(self, input_shape)
        self.channels = int(input_shape[-1] or 0)
        self.query, self.key, self.value, self.output_projection = (
            layers.Dense(self.channels, dtype=self.dtype_policy) for _ in range(4)
        )
        for dense in (self.query, self.key, self.value, self.output_projection):
            dense.build((None, None, self.channels))

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        """Applies the attention."""
        attend = keras.remat(self._attend) if self.rematerialize and training else self._attend
        return inputs + attend(inputs)

    def _attend(self, inputs: Tensor) -> Tensor:
        _, height, width, _ = ops.shape(inputs)
        x = ops.reshape(self.norm(inputs), (-1, height * width, self.channels))
        query, key, value = self.query(x), self.key(x), self.value(x)
        scores = ops.matmul(query, ops.transpose(key, (0, 2, 1))) * self.channels**-0.5
        weights = ops.cast(ops.softmax(ops.cast(scores, "float32")), value.dtype)
        attended = self.output_projection(ops.matmul(weights, value))
        return ops.reshape(attended, (-1, height, width, self.channels))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns the input shape."""
        return input_shape
