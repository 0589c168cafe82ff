"""Gradient estimators of quantizers: callables `(inputs, codes, training) -> outputs`.

The outputs equal the code vectors bit for bit, except in `Directional`, which adds noise in
training. Estimators differ in the gradient to the inputs, and some have one to the code vectors.
"""

from keras_vq.estimators._estimator import Estimator
from keras_vq.estimators.directional import Directional
from keras_vq.estimators.rotation_trick import rotation_trick
from keras_vq.estimators.straight_through import straight_through
from keras_vq.estimators.synchronized import Synchronized

__all__ = ["Directional", "Estimator", "Synchronized", "get", "rotation_trick", "straight_through"]

_BY_NAME: dict[str, Estimator] = {
    "straight_through": straight_through,
    "rotation_trick": rotation_trick,
}


def get(identifier: str | Estimator) -> Estimator:
    """Returns the estimator for a name, or the callable itself.

    Raises:
        ValueError: If the name is unknown or the object is not callable.

    Example:
        >>> import keras_vq
        >>> keras_vq.estimators.get("straight_through").__name__
        'straight_through'
    """
    if callable(identifier):
        return identifier
    if identifier in _BY_NAME:
        return _BY_NAME[identifier]
    raise ValueError(
        f"`estimator` must be one of {sorted(_BY_NAME)} or a function of (inputs, codes, "
        f"training). Received: {identifier!r}"
    )
