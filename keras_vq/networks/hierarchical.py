"""Encoders and decoders of VQ-VAE-2."""

from collections.abc import Sequence
from typing import NamedTuple

import keras
from keras import layers

from keras_vq import _validation
from keras_vq.networks._shapes import check_widths, padded_image_shape
from keras_vq.networks.pair import output_bias, output_layer, sequential
from keras_vq.networks.residual_convolutional import downsampling, upsampling


class HierarchicalNetworks(NamedTuple):
    """Networks of a `VQVAE2`, in the order of its arguments.

    Example:
        >>> import keras_vq
        >>> networks = keras_vq.networks.hierarchical((32, 32, 3), filters=(16, 32))
        >>> networks.top_encoder.output_shape, networks.bottom_head.output_shape
        ((None, 4, 4, 64), (None, 8, 8, 64))
    """

    bottom_encoder: keras.Model
    top_encoder: keras.Model
    top_decoder: keras.Model
    bottom_head: keras.Model
    decoder: keras.Model


def hierarchical(
    image_shape: tuple[int, int, int],
    filters: Sequence[int] = (64, 128),
    latent_dim: int = 64,
    residual_blocks: int = 2,
    residual_filters: int = 32,
    output_activation: str | None = "clip",
    pad: bool = False,
) -> HierarchicalNetworks:
    """Builds the networks of VQ-VAE-2, with a top scale of half the size of the bottom scale.

    The bottom encoder and the decoder are those of `residual_convolutional`, the encoder without
    its 1x1 convolution. The top encoder halves height and width of the bottom features, and the top
    decoder mirrors it. Source: Razavi et al., "Generating Diverse High-Fidelity Images with
    VQ-VAE-2", 2019, section 3.1.

    Args:
        image_shape: Tuple of integers. (height, width, channels). Height and width must be
            multiples of 2ⁿ⁺¹, where n is the number of strided layers of the bottom encoder, unless
            `pad` is True.
        filters: Sequence of integers. Filters of each strided convolution of the bottom encoder.
            The decoder mirrors them. Defaults to (64, 128).
        latent_dim: Integer. Dimension of the latent vectors of each scale. Defaults to 64.
        residual_blocks: Integer. Blocks per residual stack. Defaults to 2.
        residual_filters: Integer. Filters of the 3x3 convolution in each block. Defaults to 32.
        output_activation: String. "clip" for a `StraightThroughClip` to [0, 1] (squared or absolute
            error), "sigmoid" (Bernoulli likelihood, the default of `VAE`), another Keras
            activation, or None for unbounded outputs. Defaults to "clip".
        pad: Boolean. Whether to pad images if the strides do not divide their height or width: the
            encoder repeats the border pixels, and the decoder crops its outputs to `image_shape`.
            False raises an error for such sizes. Defaults to False.

    Returns:
        A `HierarchicalNetworks` tuple. With n strided convolutions, the shapes are:

        - `bottom_encoder`: images -> bottom features,
          `(batch, height / 2ⁿ, width / 2ⁿ, filters[-1])`.
        - `top_encoder`: bottom features -> top latents,
          `(batch, height / 2ⁿ⁺¹, width / 2ⁿ⁺¹, latent_dim)`.
        - `top_decoder`: top latents -> decoded top latents,
          `(batch, height / 2ⁿ, width / 2ⁿ, latent_dim)`.
        - `bottom_head`: concatenated bottom features and decoded top latents -> bottom latents,
          `(batch, height / 2ⁿ, width / 2ⁿ, latent_dim)`.
        - `decoder`: concatenated quantized vectors of both scales -> images.

    Raises:
        ValueError: If a shape or width is invalid, or the strides do not divide the image size.

    Example:
        >>> import keras_vq
        >>> networks = keras_vq.networks.hierarchical((32, 32, 3))
        >>> sum(network.count_params() for network in networks)
        1528131
    """
    filters = check_widths("filters", filters)
    scale = 2 ** len(filters)
    shape, padding = padded_image_shape(image_shape, 2 * scale, pad)
    _validation.check_positive_integer("latent_dim", latent_dim)
    hidden, stack = filters[-1], (residual_blocks, residual_filters)

    bottom, top = (tuple(size // by for size in padding.sizes) for by in (scale, 2 * scale))

    def to_latents() -> keras.Layer:
        return layers.Conv2D(latent_dim, 1, data_format="channels_last")

    return HierarchicalNetworks(
        sequential(
            "bottom_encoder",
            shape,
            [*padding.pad, *downsampling(filters, *stack)],
        ),
        sequential(
            "top_encoder",
            (*bottom, hidden),
            [*downsampling((hidden,), *stack), to_latents()],
        ),
        sequential("top_decoder", (*top, latent_dim), upsampling((hidden,), latent_dim, *stack)),
        sequential("bottom_head", (*bottom, hidden + latent_dim), [to_latents()]),
        sequential(
            "decoder",
            (*bottom, 2 * latent_dim),
            [
                *upsampling(filters, shape[-1], *stack, output_bias(output_activation)),
                *padding.crop,
                output_layer(output_activation),
            ],
        ),
    )
