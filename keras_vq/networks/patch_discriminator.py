"""The discriminator that judges patches of images."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from keras_vq.networks._shapes import check_image_shape, check_widths
from keras_vq.networks.pair import sequential


def patch_discriminator(
    image_shape: tuple[int, int, int], filters: Sequence[int] = (64, 128, 256)
) -> keras.Model:
    """A discriminator of 4x4 convolutions that gives a logit for each patch of an image.

    All but the last of the convolutions that `filters` names have stride 2. Pixels in [0, 1] are
    brought to [-1, 1] first. With the default a logit sees 34 x 34 pixels; with
    `filters=(64, 128, 256, 512)` 70 x 70, as in the paper's PatchGAN. Source: Isola et al.,
    "Image-to-Image Translation with Conditional Adversarial Networks", 2017, appendix 6.1.2, whose
    initialization it has too.

    The paper, and VQGAN's code, normalize over the batch. Here it is over groups of channels of
    each image: a logit then depends on its own image alone, in training as in evaluation, real
    images and reconstructions need not share statistics, and batches may be small.

    Args:
        image_shape: (height, width, channels).
        filters: Filters of each convolution before the one that gives the logits.

    Returns:
        A model: images -> logits of shape `(batch, rows, columns, 1)`.

    Raises:
        ValueError: If a shape or width is not one.

    Example:
        >>> import keras_vq
        >>> keras_vq.networks.patch_discriminator((32, 32, 3)).output_shape
        (None, 8, 8, 1)
    """
    filters = check_widths("filters", filters)
    height, width, channels = check_image_shape(image_shape, 1)
    parts: list[keras.Layer] = [layers.Rescaling(2.0, offset=-1.0)]
    for place, count in enumerate(filters):
        strides = 1 if place == len(filters) - 1 else 2
        # A normalization takes away what a bias adds; the pixels' own layer has none.
        parts.append(_convolution(count, strides, use_bias=place == 0))
        if place > 0:
            parts.append(layers.GroupNormalization(math.gcd(32, count)))
        parts.append(layers.LeakyReLU(0.2))
    parts.append(_convolution(1, 1, use_bias=True))
    return sequential("discriminator", (height, width, channels), parts)


def _convolution(filters: int, strides: int, use_bias: bool) -> Any:
    return layers.Conv2D(
        filters,
        4,
        strides=strides,
        padding="same",
        data_format="channels_last",
        use_bias=use_bias,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.02),
    )
