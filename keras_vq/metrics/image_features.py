"""Image features from a user-supplied network."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_vq import _validation, backend
from keras_vq._inputs import as_array
from keras_vq.metrics._features import check_features

# Show a progress bar above this number of batches.
_MANY = 200


def image_features(network: Callable[[Any], Any], images: Any, batch_size: int = 128) -> np.ndarray:
    """Computes features of images in batches.

    Args:
        network: Keras model, layer or function from a float32 batch
            `(batch, height, width, channels)` to features `(batch, dim)`. A function receives NumPy
            arrays; a model runs in inference mode. It includes any preprocessing of the network:
            resizing, rescaling, conversion of gray images to RGB.
        images: Array of shape `(n, height, width, channels)`, pixels in [0, 1].
        batch_size: Integer. Batch size. Defaults to 128.

    Returns:
        Array of shape `(n, dim)`.

    Raises:
        ValueError: If there are no images, pixels are not floats, or the features have another
            shape or are not finite.

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
        with backend.preserve_weights(network):
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
    """Converts images to an array and validates them.

    Raises:
        ValueError: If the array has another shape, has no images, or does not contain floats.
    """
    images = np.asarray(ops.convert_to_numpy(as_array(name, images)))
    if images.ndim != 4 or len(images) == 0:
        raise ValueError(
            f"`{name}` must be an array of shape (n, height, width, channels) with n >= 1. "
            f"Received: shape {images.shape}"
        )
    if images.dtype.kind != "f":
        raise ValueError(
            f"`{name}` must contain floats in [0, 1]. Divide 8-bit pixels by 255. "
            f"Received: type {images.dtype}"
        )
    return images


def _checked(features: Any, count: int) -> np.ndarray:
    features = check_features("network(images)", features)
    if len(features) != count:
        raise ValueError(
            f"`network` must return one row of features per image for {count} images. "
            f"Received: shape {features.shape}"
        )
    return features
