"""What priors that draw one position after another share."""

from typing import Any

from keras import ops

from keras_vq._types import Tensor
from keras_vq.layers.code_embedding import CodeEmbedding
from keras_vq.priors._code_heads import CodeHeads
from keras_vq.priors.base import CodePrior
from keras_vq.priors.sampling import guided, sample_codes

State = Any
"""What a prior keeps of earlier positions: nested tuples of tensors, a row for each sample."""


class AutoregressivePrior(CodePrior):
    """Abstract prior p(codes) = ∏ p(codes of a position | those of the positions before).

    The probabilities are exact, so that the log-likelihood is. Sampling keeps what it has
    computed for earlier positions: one image costs about one forward pass.

    A subclass implements `contexts`, which takes all positions at once, for training; and
    `first_state` and `step`, which take one after another, for sampling. It embeds codes by
    `self.embedding`.
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

    def first_state(self, like: Tensor, given: Tensor | None) -> State:
        """What `step` takes at the first position.

        Args:
            like: Int32 zeros of shape `(rows, N, L)`, for as many rows as the contexts have.
            given: What `Conditioning` makes of label and condition.
        """
        raise NotImplementedError

    def step(self, position: Any, before: Tensor, state: State) -> tuple[Tensor, State]:
        """What `contexts` knows of the next position, from what was kept of those before.

        Args:
            position: Its number, a scalar.
            before: Codes of the position before, int32 `(rows, L)`; at the first whatever there
                is.
            state: What was kept.

        Returns:
            Float tensor of shape `(rows, dim)`, and what to keep.
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
        places = ops.reshape(ops.arange(self.positions), (1, -1, 1))

        def draw(position: Any, carried: Any) -> Any:
            codes, before, state = carried
            contexts, state = self.step(position, before, state)
            draws = ops.take(uniforms, position, axis=1)
            drawn = self.choose(contexts, draws, inputs, top_k, nucleus, guided)
            return ops.where(ops.equal(places, position), drawn[:, None], codes), drawn, state

        like = ops.zeros_like(uniforms, dtype="int32")
        if guided:
            like = ops.concatenate([like, like], axis=0)
        start = (like, like[:, 0], self.first_state(like, self.conditions(inputs, guided)))
        codes = ops.fori_loop(0, self.positions, draw, start)[0]
        return ops.split(codes, 2, axis=0)[0] if guided else codes

    def first_state_batch(self, inputs: Any) -> State:
        """`first_state` of a batch, from what `as_inputs` gives for codes of zeros."""
        codes, given = self._unpacked(inputs)
        return self.first_state(codes, self.conditioning(given))

    def step_batch(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """`step` of a batch.

        Args:
            inputs: `position`, int32 of shape `(1,)`; `before` and `state` as `step` takes them.

        Returns:
            `contexts`, and `state` for the next step.
        """
        contexts, state = self.step(inputs["position"][0], inputs["before"], inputs["state"])
        return {"contexts": contexts, "state": state}

    def level_logits_batch(self, inputs: dict[str, Tensor], level: int) -> Tensor:
        """Logits of a level at one position, float32 `(batch, size)`.

        Args:
            inputs: `contexts` of `step_batch`; `codes_before`, int32 `(batch, level)`.
            level: Number of the level.
        """
        return self.code_heads.level(inputs["contexts"], inputs["codes_before"], level)

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
