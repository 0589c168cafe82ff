"""What priors that draw one position after another share."""

from collections.abc import Callable
from typing import Any

from keras import ops

from keras_vq._types import Tensor
from keras_vq.layers.code_embedding import CodeEmbedding
from keras_vq.priors._code_heads import CodeHeads
from keras_vq.priors.base import CodePrior
from keras_vq.priors.sampling import guided, sample_codes

Choose = Callable[[Tensor, Any], Tensor]
"""(contexts of a position, its number) -> its codes, `(batch, L)`."""


class AutoregressivePrior(CodePrior):
    """Abstract prior p(codes) = ∏ p(codes of a position | those of the positions before).

    The probabilities are exact, so that the log-likelihood is. Sampling keeps what it has
    computed for earlier positions: one image costs about one forward pass.

    A subclass implements `contexts` for training, and `sample_positions` for sampling; it
    embeds codes by `self.embedding`, and hands contexts to `self.code_heads`.
    """

    def contexts(self, codes: Tensor, given: Tensor | None, training: bool) -> Tensor:
        """What the network knows of each position from those before.

        Args:
            codes: Int32 tensor of shape `(batch, N, L)`.
            given: What `Conditioning` makes of label and condition.
            training: Whether for a training step.

        Returns:
            Float tensor of shape `(batch, N, dim)`.
        """
        raise NotImplementedError

    def sample_positions(self, like: Tensor, given: Tensor | None, choose: Choose) -> Tensor:
        """Draws all positions, one after another.

        Args:
            like: Int32 zeros of shape `(rows, N, L)`, for as many rows as the contexts have.
            given: What `Conditioning` makes of label and condition.
            choose: Draws the codes of a position, for all rows.

        Returns:
            Int32 tensor of the shape of `like`.
        """
        raise NotImplementedError

    def build_network(self) -> None:
        """Creates what all such priors have."""
        policy = self.dtype_policy
        self.embedding = CodeEmbedding(self.codebook_sizes, self.dim, dtype=policy)
        self.embedding.build((None, len(self.codebook_sizes)))
        self.code_heads = CodeHeads(self.codebook_sizes, self.dim, dtype=policy)
        self.code_heads.build((None, self.dim))

    def code_logits(self, codes: Tensor, given: Tensor | None, training: bool) -> dict[str, Any]:
        """Logits of all codes, each from the true codes before it."""
        return {"logits": self.code_heads(self.contexts(codes, given, training), codes)}

    def draws_shape(self) -> tuple[int, ...]:
        """A uniform number for each code."""
        return (self.positions, len(self.codebook_sizes))

    def sample_batch(
        self, inputs: dict[str, Tensor], top_k: int | None, nucleus: bool, guided: bool
    ) -> Tensor:
        """Codes of a batch; see `CodePrior.sample_batch`."""
        uniforms = inputs["uniforms"]

        def choose(contexts: Tensor, position: Any) -> Tensor:
            draws = ops.take(uniforms, position, axis=1)
            return self.choose(contexts, draws, inputs, top_k, nucleus, guided)

        like = ops.zeros_like(uniforms, dtype="int32")
        if guided:
            like = ops.concatenate([like, like], axis=0)
        codes = self.sample_positions(like, self.conditions(inputs, guided), choose)
        return ops.split(codes, 2, axis=0)[0] if guided else codes

    def choose(
        self,
        contexts: Tensor,
        draws: Tensor,
        inputs: dict[str, Tensor],
        top_k: int | None,
        nucleus: bool,
        is_guided: bool,
    ) -> Tensor:
        """Draws the codes of a position, level after level.

        Args:
            contexts: Float tensor of shape `(batch, dim)`; when guided `(2 batch, dim)`, with
                labels and then without.
            draws: Uniform numbers of shape `(batch, L)`.
            inputs: See `CodePrior.sample_batch`.
            top_k: See `CodePrior.sample_batch`.
            nucleus: See `CodePrior.sample_batch`.
            is_guided: See `CodePrior.sample_batch`.

        Returns:
            Int32 tensor with as many rows as the contexts, `(..., L)`.
        """
        chosen: list[Tensor] = []
        for level in range(len(self.codebook_sizes)):
            before = ops.stack(chosen, axis=-1) if chosen else None
            logits = self.code_heads.level(contexts, before, level)
            if is_guided:
                logits = guided(logits, inputs["guidance"])
            top_p = inputs["top_p"] if nucleus else None
            code = sample_codes(logits, draws[:, level], inputs["temperature"], top_k, top_p)
            chosen.append(ops.concatenate([code, code], axis=0) if is_guided else code)
        return ops.stack(chosen, axis=-1)
