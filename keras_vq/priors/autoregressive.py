"""Base class of autoregressive priors."""

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
    """Base class of autoregressive priors, p(codes) = ∏ p(codes of a position | earlier codes).

    The log-likelihood is exact. Sampling caches the activations of earlier positions, such as the
    KV cache of a transformer, so that generating one grid costs about one forward pass.

    A subclass implements `_contexts`, which processes all positions at once for training, and
    `_first_state` and `_step`, which process one position at a time for sampling. It embeds codes
    with `self.embedding`.
    """

    def _contexts(self, codes: Tensor, given: Tensor | None, training: bool) -> Tensor:
        """Computes causal hidden states for all positions (teacher forcing).

        Args:
            codes: Int32 tensor of shape `(batch, N, L)`.
            given: Output of `Conditioning`, or None.
            training: Boolean. Whether the call is part of a training step.

        Returns:
            Float tensor of shape `(batch, N, dim)`. The vector of a position depends only on the
            codes of earlier positions.
        """
        raise NotImplementedError

    def _first_state(self, like: Tensor, given: Tensor | None) -> State:
        """Returns the sampling state before the first position.

        Args:
            like: Int32 tensor of zeros of shape `(rows, N, L)`. `rows` is the batch size, or twice
                the batch size with classifier-free guidance.
            given: Output of `Conditioning` with the same number of rows, or None.
        """
        raise NotImplementedError

    def _step(self, position: Any, before: Tensor, state: State) -> tuple[Tensor, State]:
        """Computes the hidden state of the next position from the cached state.

        Args:
            position: Scalar integer. Index of the position.
            before: Int32 tensor of shape `(rows, L)`. Codes of the previous position; ignored at
                position 0.
            state: State returned by `_first_state` or by the previous `_step`.

        Returns:
            Tuple of the hidden state, a float tensor of shape `(rows, dim)`, and the new state.
        """
        raise NotImplementedError

    def _build_network(self) -> None:
        """Creates the code embedding and the output heads."""
        policy = self.dtype_policy
        self.embedding = CodeEmbedding(self.codebook_sizes, self.hidden_dim, dtype=policy)
        self.embedding.build((None, len(self.codebook_sizes)))
        self.code_heads = CodeHeads(self.codebook_sizes, self.hidden_dim, dtype=policy)
        self.code_heads.build((None, self.hidden_dim))

    def _code_logits(self, codes: Tensor, given: Tensor | None, training: bool) -> dict[str, Any]:
        """Computes the logits of all codes with teacher forcing."""
        return {"logits": self.code_heads(self._contexts(codes, given, training), codes)}

    def _floats_per_sample(self) -> int:
        """Returns the approximate number of floats held per sample, with logits of one code."""
        return 4 * self._positions * self.hidden_dim + 8 * max(self.codebook_sizes)

    def _uniforms_shape(self) -> tuple[int, ...]:
        """Returns the shape of the uniform random numbers, one per code."""
        return (self._positions, len(self.codebook_sizes))

    def _sample_batch(
        self, inputs: dict[str, Tensor], top_k: int | None, nucleus: bool, guided: bool
    ) -> Tensor:
        """Samples the codes of a batch. See `CodePrior._sample_batch`."""
        uniforms = inputs["uniforms"]
        places = ops.reshape(ops.arange(self._positions), (1, -1, 1))

        def draw(position: Any, carried: Any) -> Any:
            codes, before, state = carried
            contexts, state = self._step(position, before, state)
            draws = ops.take(uniforms, position, axis=1)
            drawn = self._choose(contexts, draws, inputs, top_k, nucleus, guided)
            return ops.where(ops.equal(places, position), drawn[:, None], codes), drawn, state

        like = ops.zeros_like(uniforms, dtype="int32")
        if guided:
            like = ops.concatenate([like, like], axis=0)
        start = (like, like[:, 0], self._first_state(like, self._conditions_of(inputs, guided)))
        codes = ops.fori_loop(0, self._positions, draw, start)[0]
        return ops.split(codes, 2, axis=0)[0] if guided else codes

    def _first_state_batch(self, inputs: Any) -> State:
        """Computes `_first_state` for a batch.

        Args:
            inputs: Output of `as_inputs` for codes of zeros.
        """
        codes, given = self._unpacked(inputs)
        return self._first_state(codes, self.conditioning(given))

    def _step_batch(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Computes `_step` for a batch.

        Args:
            inputs: Dictionary with `position`, int32 of shape `(1,)`, and with `before` and
                `state`, the arguments of `_step`.

        Returns:
            Dictionary with `contexts`, the hidden states, and `state`, the state of the next step.
        """
        contexts, state = self._step(inputs["position"][0], inputs["before"], inputs["state"])
        return {"contexts": contexts, "state": state}

    def _stage_logits_batch(self, inputs: dict[str, Tensor], stage: int) -> Tensor:
        """Computes the logits of one codebook at one position.

        Args:
            inputs: Dictionary with `contexts`, the hidden states from `_step_batch`, and
                `codes_before`, an int32 tensor of shape `(batch, stage)`.
            stage: Integer. Index of the codebook.

        Returns:
            Float32 tensor of shape `(batch, size)`.
        """
        return self.code_heads.stage(inputs["contexts"], inputs["codes_before"], stage)

    def _choose(
        self,
        contexts: Tensor,
        draws: Tensor,
        inputs: dict[str, Tensor],
        top_k: int | None,
        nucleus: bool,
        is_guided: bool,
    ) -> Tensor:
        """Samples the codes of one position, codebook by codebook.

        Args:
            contexts: Float tensor of shape `(batch, dim)`. With guidance, of shape
                `(2 batch, dim)`: hidden states with labels, then without.
            draws: Float tensor of shape `(batch, L)`. Uniform random numbers.
            inputs: See `CodePrior._sample_batch`.
            top_k: See `CodePrior._sample_batch`.
            nucleus: See `CodePrior._sample_batch`.
            is_guided: See `CodePrior._sample_batch`.

        Returns:
            Int32 tensor of shape `(rows, L)`, with as many rows as `contexts`.
        """
        chosen: list[Tensor] = []
        for stage in range(len(self.codebook_sizes)):
            before = ops.stack(chosen, axis=-1) if chosen else None
            logits = self.code_heads.stage(contexts, before, stage)
            if is_guided:
                logits = guided(logits, inputs["guidance"])
            top_p = inputs["top_p"] if nucleus else None
            code = sample_codes(logits, draws[:, stage], inputs["temperature"], top_k, top_p)
            chosen.append(ops.concatenate([code, code], axis=0) if is_guided else code)
        return ops.stack(chosen, axis=-1)
