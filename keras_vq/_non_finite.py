"""Detection of weights that contain NaN or infinity."""

import warnings
from typing import Any

import keras
from keras import ops


class NonFiniteWeightsWarning(UserWarning):
    """Warning about loaded weights that contain NaN or infinity.

    Example:
        >>> import warnings, keras_vq
        >>> # Reject such files:
        >>> warnings.simplefilter("error", keras_vq.models.NonFiniteWeightsWarning)
    """


def non_finite_weights(layer: keras.Layer) -> list[str]:
    """Returns the paths of weights of a layer or model that contain NaN or infinity."""
    return [weight.path for weight in layer.weights if not _is_finite(weight)]


def warn_of_non_finite(layer: keras.Layer) -> None:
    """Warns if the loaded weights of a layer or model contain NaN or infinity."""
    spoiled = non_finite_weights(layer)
    if spoiled:
        warnings.warn(
            f"The loaded weights of {type(layer).__name__} must be finite. Load weights from "
            f"before training diverged. Received: NaN or infinity in {', '.join(spoiled[:5])}",
            NonFiniteWeightsWarning,
            stacklevel=3,
        )


class WarnsOfNonFinite:
    """Mixin of layers that warn if they load NaN or infinity."""

    def load_own_variables(self, store: Any) -> None:
        """Loads the weights and warns if they contain NaN or infinity."""
        super().load_own_variables(store)  # type: ignore[misc]
        warn_of_non_finite(self)


def _is_finite(weight: Any) -> bool:
    if not keras.backend.is_float_dtype(weight.dtype):
        return True
    return bool(ops.convert_to_numpy(ops.all(ops.isfinite(weight.value))))
