"""Network of QINCo, which computes code vectors for a partial reconstruction."""

from typing import Any

import keras
from keras import layers, ops

from keras_vq import _validation
from keras_vq._configurable import ConfigurableLayer
from keras_vq._types import Shape, Tensor


@keras.saving.register_keras_serializable("keras_vq")
class ImplicitNeuralCodebook(ConfigurableLayer):
    """QINCo network: the code vector for a base code vector c and a partial reconstruction s.

    v₀ = c + P [s, c] + b, then residual blocks vᵢ = vᵢ₋₁ + Wᵢ₂ relu(Wᵢ₁ vᵢ₋₁); the output is the
    last v. This is the forward pass of the authors' published code (facebookresearch/Qinco,
    QINCo1). The weights of its step `m` can be copied; the weight of a `torch.nn.Linear` is
    transposed:

    | authors' step | this layer |
    | --- | --- |
    | `codebook.weight` | `ImplicitNeuralQuantizer.embeddings` |
    | `MLPconcat.weight`, for inputs [c, s] | `projection.kernel`, with its row halves swapped |
    | `MLPconcat.bias` | `projection.bias` |
    | `residual_block{i}.0.weight` | `widen[i].kernel` |
    | `residual_block{i}.2.weight` | `narrow[i].kernel` |

    Source: Huijben et al., "Residual Quantization with Implicit Neural Codebooks" (QINCo), 2024,
    section 3.

    Args:
        hidden_dim: Integer. Width of the hidden layer of each block. Defaults to 256.
        blocks: Integer. Number of residual blocks. Defaults to 2.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Float tensor of shape `(..., 2 * dim)`: the concatenation of s and c.

    Returns:
        Float tensor of shape `(..., dim)`.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import numpy as np, keras_vq
        >>> network = keras_vq.layers.ImplicitNeuralCodebook(hidden_dim=32)
        >>> tuple(network(np.zeros((5, 16), "float32")).shape)
        (5, 8)
    """

    def __init__(self, hidden_dim: int = 256, blocks: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hidden_dim = _validation.check_positive_integer("hidden_dim", hidden_dim)
        self.blocks = _validation.check_positive_integer("blocks", blocks)

    def build(self, input_shape: Shape) -> None:
        """Creates the network for inputs of shape `(..., 2 * dim)`."""
        width = input_shape[-1]
        if width is None or width % 2:
            raise ValueError(
                "The last axis of the inputs must have an even size, because the inputs are the "
                "concatenation of a context and a code vector of the same dimension. "
                f"Received: inputs of shape {tuple(input_shape)}"
            )
        dim, dtype = width // 2, self.dtype_policy
        self.projection = layers.Dense(dim, dtype=dtype)
        self.projection.build(input_shape)
        inner = (*input_shape[:-1], dim)
        self.widen = [
            layers.Dense(self.hidden_dim, activation="relu", use_bias=False, dtype=dtype)
            for _ in range(self.blocks)
        ]
        self.narrow = [layers.Dense(dim, use_bias=False, dtype=dtype) for _ in range(self.blocks)]
        for widen, narrow in zip(self.widen, self.narrow, strict=True):
            widen.build(inner)
            narrow.build((*input_shape[:-1], self.hidden_dim))

    def call(self, inputs: Tensor) -> Tensor:
        """Computes the code vectors of pairs of partial reconstruction and base code vector."""
        values = ops.split(inputs, 2, axis=-1)[1] + self.projection(inputs)
        for widen, narrow in zip(self.widen, self.narrow, strict=True):
            values = values + narrow(widen(values))
        return values

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns the shape of the code vectors."""
        width = input_shape[-1]
        return (*input_shape[:-1], None if width is None else width // 2)
