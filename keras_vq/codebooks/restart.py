"""What becomes of codes that hardly any vector chooses: they are placed anew, on vectors."""

from typing import Any, Literal, get_args

import keras

from keras_vq import _validation

Sampling = Literal["distance", "uniform"]


@keras.saving.register_keras_serializable("keras_vq")
class DeadCodeRestart:
    """Moves a code that has fallen out of use onto a vector of the current batch.

    A code is dead when the moving average of its count falls below `threshold` times the count
    that it would have if all codes served equally (vectors per batch / codebook size). Being a
    ratio, the threshold means the same for every batch and codebook size.

    Sources: the restart of Jukebox (Dhariwal et al., 2020) and SoundStream (Zeghidour et al.,
    2021), which use an absolute count; the choice by squared distance is that of k-means++
    (Arthur and Vassilvitskii, 2007).

    Args:
        threshold: Number in (0, 1]; 0.1 restarts codes used less than a tenth as often as the
            mean code.
        reset: The count given to a restarted code, as a multiple of the mean count: how long it
            may stay unused before it is restarted again.
        sampling: `"distance"` draws vectors in proportion to their squared distance from their
            nearest code: codes go where the codebook serves worst. `"uniform"` draws every
            vector alike: codes go where most vectors are.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import keras_vq
        >>> codebook = keras_vq.EMACodebook(512, restart=keras_vq.DeadCodeRestart(threshold=0.05))
    """

    def __init__(
        self, threshold: float = 0.1, reset: float = 1.0, sampling: Sampling = "distance"
    ) -> None:
        self.threshold = _validation.check_positive("threshold", threshold)
        self.reset = _validation.check_positive("reset", reset)
        if self.threshold > 1:
            raise ValueError(f"`threshold` must be a number in (0, 1]. Received: {threshold!r}")
        if sampling not in get_args(Sampling):
            raise ValueError(
                f"`sampling` must be one of {get_args(Sampling)}. Received: {sampling!r}"
            )
        self.sampling = sampling

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"threshold": self.threshold, "reset": self.reset, "sampling": self.sampling}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "DeadCodeRestart":
        """The rule of a configuration."""
        return cls(**config)
