"""Gradient estimators of quantizers: callables `(inputs, quantized, training) -> outputs`.

The outputs equal the code vectors bit for bit, except in `Directional`, which adds noise in
training. Estimators differ in the gradient to the inputs, and some have one to the code vectors.
"""

from keras_vq._registry import Registry
from keras_vq.estimators._estimator import Estimator
from keras_vq.estimators.directional import Directional
from keras_vq.estimators.rotation_trick import rotation_trick
from keras_vq.estimators.straight_through import straight_through
from keras_vq.estimators.synchronized import Synchronized

__all__ = [
    "Directional",
    "Estimator",
    "Synchronized",
    "deserialize",
    "get",
    "rotation_trick",
    "serialize",
    "straight_through",
]

_REGISTRY = Registry("estimator", (Directional, Synchronized, rotation_trick, straight_through))
get, serialize, deserialize = _REGISTRY.get, _REGISTRY.serialize, _REGISTRY.deserialize
