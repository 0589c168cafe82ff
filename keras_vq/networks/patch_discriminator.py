"""Patch discriminator (PatchGAN)."""

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
    """Builds a PatchGAN discriminator of 4x4 convolutions, with one logit per image patch.

    All convolutions in `filters` but the last have stride 2. Pixels in [0, 1] are first rescaled to
    [-1, 1]. With the default `filters` the receptive field of a logit is 34 x 34 pixels; with
    `filters=(64, 128, 256, 512)` it is 70 x 70, as in the paper. Source: Isola et al.,
    "Image-to-Image Translation with Conditional Adversarial Networks", 2017, appendix 6.1.2, which
    also specifies the initialization.

    The paper and the VQGAN code use batch normalization. This function uses group normalization: a
    logit depends on its own image only, in training and in evaluation; real images and
    reconstructions do not share statistics; and batches may be small.

    Args:
        image_shape: Tuple of integers. (height, width, channels).
        filters: Sequence of integers. Filters of each convolution before the one that computes the
            logits. Defaults to (64, 128, 256).

    Returns:
        A `keras.Model`: images -> logits of shape `(batch, rows, columns, 1)`.

    Raises:
        ValueError: If a shape or width is invalid.

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
        # Normalization cancels a bias; the first convolution is not normalized.
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
