"""Perceptual loss: the distance of two images in the feature maps of a network."""

from typing import Any

import keras
from keras import ops

from keras_vq._types import Tensor


@keras.saving.register_keras_serializable("keras_vq")
class PerceptualLoss(keras.losses.Loss):
    """Perceptual loss of images: the squared distance of their normalized feature maps.

    The feature vectors at each position are normalized to length 1. Their squared distances are
    averaged over the positions of a map and summed over maps. This is LPIPS without its learned
    weights.

    Source: Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric",
    2018, section 3.

    Args:
        feature_network: Layer or model that maps images to a channels-last feature map, or to a
            list of them. It must include any preprocessing of pixels in [0, 1]. The loss sets
            `trainable` to `False`.
        reduction: String. Keras reduction over the batch. Defaults to `"sum_over_batch_size"`, the
            mean over images.
        name: String. Name of the loss. Defaults to `"perceptual_loss"`.
        **kwargs: Arguments of `keras.losses.Loss`.

    Call arguments:
        y_true: Images of shape `(batch, height, width, channels)`.
        y_pred: Images of the same shape.

    Raises:
        ValueError: If `feature_network` is not a Keras layer or model.

    Example:
        >>> import keras, numpy as np, keras_vq
        >>> images = np.random.default_rng(0).random((4, 8, 8, 3), "float32")
        >>> loss = keras_vq.losses.PerceptualLoss(keras.layers.Conv2D(6, 3))
        >>> float(loss(images, images)), float(loss(images, 1 - images)) > 0
        (0.0, True)
    """

    def __init__(
        self,
        feature_network: keras.Layer,
        reduction: str = "sum_over_batch_size",
        name: str = "perceptual_loss",
        **kwargs: Any,
    ) -> None:
        if not isinstance(feature_network, keras.Layer):
            raise ValueError(
                f"`feature_network` must be a Keras layer or model. Received: {feature_network!r}"
            )
        super().__init__(name=name, reduction=reduction, **kwargs)
        self.feature_network = feature_network
        self.feature_network.trainable = False

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Computes the loss of each image: shape `(batch,)`."""
        return sum(
            ops.mean(ops.sum(ops.square(one - other), axis=-1), axis=_positions(one))
            for one, other in zip(self._features(y_true), self._features(y_pred), strict=True)
        )

    def _features(self, images: Tensor) -> list[Tensor]:
        maps = keras.tree.flatten(self.feature_network(images, training=False))
        return [_of_length_one(ops.cast(features, "float32")) for features in maps]

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments."""
        network = keras.saving.serialize_keras_object(self.feature_network)
        return {**super().get_config(), "feature_network": network}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "PerceptualLoss":
        """Creates a loss from its configuration."""
        network = keras.saving.deserialize_keras_object(config["feature_network"])
        return cls(**{**config, "feature_network": network})


def _positions(features: Tensor) -> tuple[int, ...]:
    return tuple(range(1, len(features.shape) - 1))


def _of_length_one(vectors: Tensor) -> Tensor:
    # `ops.normalize` has a NaN gradient at zero vectors, which ReLUs produce.
    return vectors * ops.rsqrt(ops.sum(ops.square(vectors), axis=-1, keepdims=True) + 1e-10)
