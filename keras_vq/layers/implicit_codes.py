"""The network of QINCo that makes codes fit what was reconstructed so far."""

from typing import Any

import keras
from keras import layers, ops

from keras_vq import _validation
from keras_vq._hyperparameter import ConfigurableLayer
from keras_vq._types import Shape, Tensor


@keras.saving.register_keras_serializable("keras_vq")
class ImplicitCodes(ConfigurableLayer):
    """Network of QINCo: the code vector of a base code c after a partial reconstruction s.

    v₀ = c + P [s, c] + b, then residual blocks vᵢ = vᵢ₋₁ + Wᵢ₂ relu(Wᵢ₁ vᵢ₋₁); the output is the
    last v. This is the forward pass of the authors' published code (facebookresearch/Qinco,
    QINCo1). The weights of its step `m` carry over, a `torch.nn.Linear` with its weight transposed:

    | authors' step | here |
    | --- | --- |
    | `codebook.weight` | `ConditionedVectorQuantizer.embeddings` |
    | `MLPconcat.weight`, which takes [c, s] | `projection.kernel`, halves of its rows exchanged |
    | `MLPconcat.bias` | `projection.bias` |
    | `residual_block{i}.0.weight` | `widen[i].kernel` |
    | `residual_block{i}.2.weight` | `narrow[i].kernel` |

    Source: Huijben et al., "Residual Quantization with Implicit Neural Codebooks" (QINCo), 2024,
    section 3.

    Args:
        hidden_dim: Width of W₁.
        blocks: Number of residual blocks.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Float tensor of shape `(..., 2 * dim)`: s and c, one after the other.

    Returns:
        Tensor of shape `(..., dim)`.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import numpy as np, keras_vq
        >>> network = keras_vq.layers.ImplicitCodes(hidden_dim=32)
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
                "ImplicitCodes takes a context and a code of the same dimension side by side. "
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
        """Returns the code vectors of pairs of context and base code."""
        values = ops.split(inputs, 2, axis=-1)[1] + self.projection(inputs)
        for widen, narrow in zip(self.widen, self.narrow, strict=True):
            values = values + narrow(widen(values))
        return values

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Shape of the codes."""
        width = input_shape[-1]
        return (*input_shape[:-1], None if width is None else width // 2)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "hidden_dim": self.hidden_dim, "blocks": self.blocks}
