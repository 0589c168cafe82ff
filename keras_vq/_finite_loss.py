"""Callback that stops training when the loss becomes NaN or infinite."""

import math
from typing import Any

import keras


class NonFiniteLossError(ValueError):
    """Error of a training run whose loss became NaN or infinite.

    Example:
        >>> import numpy as np, keras, keras_vq
        >>> networks = keras_vq.networks.dense((8, 8, 1), units=(8,), latent_dim=2)
        >>> model = keras_vq.Autoencoder(*networks)
        >>> model.compile(keras.optimizers.SGD(1e30))
        >>> try:
        ...     history = model.fit(np.ones((8, 8, 8, 1), "float32"), epochs=3, verbose=0)
        ... except keras_vq.models.NonFiniteLossError as error:
        ...     print("decrease the learning rate")
        decrease the learning rate
    """


class FiniteLoss(keras.callbacks.Callback):
    """Callback that stops `fit` with an error when the loss of an epoch is NaN or infinite."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Checks the loss of the epoch, which has already been copied to the host."""
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            raise NonFiniteLossError(
                "The loss must be finite. Check the data for NaN, decrease the learning rate or "
                "set `clipnorm` of the optimizer, and restart from a checkpoint. "
                f"Received: loss {loss} in epoch {epoch + 1}"
            )
