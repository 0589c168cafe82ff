"""Output heads of autoregressive priors: hidden states to code logits."""

from typing import Any

import keras
from keras import layers

from keras_vq._configurable import ConfigurableLayer
from keras_vq._types import Shape, Tensor
from keras_vq.layers.code_embedding import CodeEmbedding


@keras.saving.register_keras_serializable("keras_vq")
class CodeHeads(ConfigurableLayer):
    """Output heads that predict the codes of a position autoregressively, codebook by codebook.

    Each codebook has its own MLP with one hidden layer. Its input is the hidden state of the
    position plus the summed embeddings of the codes of the previous codebooks. This models the
    dependence between the codes of a residual or product quantizer, as does the depth transformer
    of Lee et al., "Autoregressive Image Generation using Residual Quantization", 2022. With one
    codebook there is a single MLP.

    Args:
        codebook_sizes: Tuple of integers. Size of each codebook.
        hidden_dim: Integer. Dimension of the hidden states, and width of the hidden layers.
        **kwargs: Arguments of `keras.layers.Layer`.
    """

    def __init__(self, codebook_sizes: tuple[int, ...], hidden_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.codebook_sizes, self.hidden_dim = codebook_sizes, hidden_dim

    def build(self, input_shape: Shape) -> None:
        """Creates the layers."""
        del input_shape
        policy, context = self.dtype_policy, (None, self.hidden_dim)
        hidden = {"activation": "relu", "dtype": policy}
        self.hidden = [layers.Dense(self.hidden_dim, **hidden) for _ in self.codebook_sizes]
        # Half precision is too coarse for log-likelihoods.
        self.logits = [layers.Dense(size, dtype="float32") for size in self.codebook_sizes]
        for part in (*self.hidden, *self.logits):
            part.build(context)
        if len(self.codebook_sizes) > 1:
            self.before = CodeEmbedding(self.codebook_sizes[:-1], self.hidden_dim, dtype=policy)
            self.before.build((None, len(self.codebook_sizes) - 1))

    def stage(self, context: Tensor, codes_before: Tensor | None, stage: int) -> Tensor:
        """Computes the logits of one codebook.

        Args:
            context: Float tensor of shape `(..., dim)`. Hidden states.
            codes_before: Int32 tensor of shape `(..., stage)`. Codes of the previous codebooks;
                ignored if `stage` is 0.
            stage: Integer. Index of the codebook.

        Returns:
            Float32 tensor of shape `(..., codebook_sizes[stage])`.
        """
        if stage > 0:
            context = context + self.before(codes_before)
        return self.logits[stage](self.hidden[stage](context))

    def call(self, contexts: Tensor, codes: Tensor) -> tuple[Tensor, ...]:
        """Computes the logits of all codebooks with teacher forcing.

        Args:
            contexts: Float tensor of shape `(..., dim)`. Hidden states.
            codes: Int32 tensor of shape `(..., L)` for L codebooks.

        Returns:
            Tuple with one float32 tensor of shape `(..., size)` per codebook.
        """
        stages = range(len(self.codebook_sizes))
        return tuple(self.stage(contexts, codes[..., :stage], stage) for stage in stages)
