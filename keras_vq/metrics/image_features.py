"""Features of images, by a network that the user brings."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vq import _backend, _validation
from keras_vq.metrics._features import check_features

# Batches from which on a bar tells how long it takes.
_MANY = 200


def image_features(network: Callable[[Any], Any], images: Any, batch_size: int = 128) -> np.ndarray:
    """What a network makes of images, a batch at a time.

    Args:
        network: Keras model, layer, or function: a float32 batch `(b, height, width, channels)` ->
            features `(b, dim)`. A function is handed NumPy arrays, a model computes in inference
            mode. It does all that the network needs beside: resizing, other ranges of pixels,
            grey images as three channels.
        images: Array of shape `(n, height, width, channels)`, pixels in [0, 1].
        batch_size: Images computed at a time.

    Returns:
        Array of shape `(n, dim)`.

    Raises:
        ValueError: If there are no images in [0, 1], or the features are not finite and of that
            shape.

    Example:
        >>> import numpy as np, keras_vq
        >>> images = np.random.default_rng(0).random((10, 8, 8, 1))
        >>> model = keras_vq.Autoencoder(*keras_vq.networks.dense((8, 8, 1), latent_dim=4))
        >>> keras_vq.metrics.image_features(model.encoder, images).shape
        (10, 4)
    """
    _validation.check_positive_integer("batch_size", batch_size)
    images = check_images("images", images)
    if isinstance(network, keras.Model):
        verbose = 1 if len(images) > _MANY * batch_size else 0
        with _backend.kept_weights(network):
            features = network.predict(images, batch_size=batch_size, verbose=verbose)
        return _checked(features, len(images))
    if not callable(network):
        raise ValueError(
            f"`network` must be a Keras model or a function of images. Received: {network!r}"
        )
    options = {"training": False} if isinstance(network, keras.Layer) else {}
    parts = []
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size].astype("float32")
        parts.append(_checked(network(batch, **options), len(batch)))
    return np.concatenate(parts)


def check_images(name: str, images: Any) -> np.ndarray:
    """Images as an array.

    Raises:
        ValueError: If they are none, or not of pixels about [0, 1].
    """
    images = ops.convert_to_numpy(images) if ops.is_tensor(images) else np.asarray(images)
    if images.ndim != 4 or len(images) == 0:
        raise ValueError(
            f"`{name}` must be an array of shape (n, height, width, channels), n at least 1. "
            f"Received: shape {images.shape}"
        )
    if images.dtype.kind != "f":
        raise ValueError(
            f"`{name}` must hold real numbers in [0, 1]: divide 8-bit pixels by 255. "
            f"Received: type {images.dtype}"
        )
    return images


def _checked(features: Any, count: int) -> np.ndarray:
    features = check_features("network(images)", features)
    if len(features) != count:
        raise ValueError(
            f"`network` must give a row of features for each of {count} images. "
            f"Received: shape {features.shape}"
        )
    return features
