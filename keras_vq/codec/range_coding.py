"""Range coding (arithmetic coding) of codes with the probabilities of a prior."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_vq._extras import require
from keras_vq.priors.autoregressive import AutoregressivePrior

# Show a progress bar above this number of batches.
_BATCHES_WITHOUT_BAR = 4

Take = Callable[[np.ndarray, tuple[slice, int, int]], np.ndarray]
"""(probabilities `(rows, K)`, (rows, position, stage)) -> codes `(rows,)`."""


class RangeCoder:
    """Range coder of codes with the probabilities of an autoregressive prior.

    All grids form one message, so only its end is padded. Decoding requires the probabilities of
    encoding to the last bit, so both compute one position at a time, with the same compiled step
    and batch size. Uses the range coder of the package constriction.

    Source: Martin, "Range encoding: an algorithm for removing redundancy from a digitized message",
    1979.

    Args:
        prior: `AutoregressivePrior` without condition.
        batch_size: Integer. Batch size of the prior, the same in encoding and decoding.

    Raises:
        ImportError: If constriction is not installed.
    """

    def __init__(self, prior: AutoregressivePrior, batch_size: int) -> None:
        self.prior, self.batch_size = prior, batch_size
        self.stream, self.model = _constriction()

    def encode(self, codes: np.ndarray) -> bytes:
        """Encodes codes of shape `(n, *prior.code_shape)` to bytes."""
        codes = codes.reshape(len(codes), self.prior._positions, -1)
        encoder = self.stream.RangeEncoder()

        def take(probabilities: np.ndarray, place: tuple[slice, int, int]) -> np.ndarray:
            encoder.encode(codes[place].astype("int32"), self.model, probabilities)
            return codes[place]

        self._go_through(len(codes), take)
        return encoder.get_compressed().astype("<u4").tobytes()

    def decode(self, data: bytes, n: int) -> np.ndarray | None:
        """Decodes bytes to an int32 array of codes of shape `(n, *prior.code_shape)`.

        If the probabilities of the prior differ from those of encoding, the codes are wrong, or the
        result is None because decoding failed.
        """
        decoder = self.stream.RangeDecoder(np.frombuffer(data, "<u4").astype("uint32"))

        def take(probabilities: np.ndarray, place: tuple[slice, int, int]) -> np.ndarray:
            del place
            return decoder.decode(self.model, probabilities)

        try:
            return self._go_through(n, take).reshape(n, *self.prior.code_shape)
        except AssertionError:
            # constriction raises AssertionError for bytes that these probabilities can't produce.
            return None

    def _go_through(self, n: int, take: Take) -> np.ndarray:
        """Calls `take` for each batch, position and stage in coding order; returns all codes."""
        prior, sizes = self.prior, self.prior.codebook_sizes
        codes = np.zeros((n, prior._positions, len(sizes)), "int32")
        is_long = n > _BATCHES_WITHOUT_BAR * self.batch_size
        bar = keras.utils.Progbar(n, verbose=1 if is_long else 0, unit_name="grid")
        for start in range(0, n, self.batch_size):
            rows = slice(start, min(start + self.batch_size, n))
            # Full batches only, because rounding can depend on the batch size.
            batch = np.zeros((self.batch_size, *codes.shape[1:]), "int32")
            inputs = prior.as_inputs(batch.reshape(-1, *prior.code_shape))
            state = prior._apply_to_batch(prior._first_state_batch, inputs)
            before = batch[:, 0]
            for position in range(prior._positions):
                told = {"position": np.full(1, position, "int32"), "before": before}
                step = prior._apply_to_batch(prior._step_batch, {**told, "state": state})
                state, before = step["state"], np.zeros_like(before)
                for stage, size in enumerate(sizes):
                    # The code of a codebook of size 1 is 0 and takes no bits.
                    if size == 1:
                        continue
                    told = {"contexts": step["contexts"], "codes_before": before[:, :stage]}
                    logits = prior._apply_to_batch(prior._stage_logits_batch, told, stage=stage)
                    kept = logits[: rows.stop - rows.start]
                    taken = take(_probabilities(kept), (rows, position, stage))
                    before[: len(taken), stage] = codes[rows, position, stage] = taken
            bar.update(rows.stop)
        return codes


def _probabilities(logits: np.ndarray) -> np.ndarray:
    if not np.isfinite(logits).all():
        raise ValueError(
            "The prior must predict finite probabilities. Load finite weights. "
            f"Received: logits from {logits.min()} to {logits.max()}"
        )
    logits = logits.astype("float64")
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (shares / shares.sum(axis=-1, keepdims=True)).astype("float32")


def check_prior(prior: Any, codebook_sizes: tuple[int, ...], code_shape: Any) -> None:
    """Checks that a prior is autoregressive, unconditional, and matches the codes of a model.

    Args:
        prior: Prior to check.
        codebook_sizes: Tuple of integers. Codebook size of each stage of the model.
        code_shape: Tuple of integers. Shape of the codes of one image.

    Raises:
        ValueError: If the prior has another type or other codes.
    """
    if not isinstance(prior, AutoregressivePrior) or prior.condition_shape is not None:
        raise ValueError(
            "`prior` must be an autoregressive prior without conditioning, a PixelCNNPrior or "
            f"TransformerPrior. Received: {prior!r}"
        )
    if prior.codebook_sizes != codebook_sizes or prior.code_shape != tuple(code_shape):
        raise ValueError(
            "`prior` must have the code shape and codebook sizes of the model. Create it with "
            f"`for_model`. Received: a prior with {prior.code_shape} and {prior.codebook_sizes}, "
            f"a model with {tuple(code_shape)} and {codebook_sizes}"
        )


def _constriction() -> tuple[Any, Any]:
    require(("constriction",), "codec", "Coding with a prior")
    import constriction

    return constriction.stream.queue, constriction.stream.model.Categorical(perfect=False)
