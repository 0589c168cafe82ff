"""The networks of a VQ-VAE of two levels."""

from collections.abc import Sequence
from typing import NamedTuple

import keras
from keras import layers

from keras_vq import _validation
from keras_vq.networks._shapes import check_image_shape, check_widths, padding_to_multiple
from keras_vq.networks.pair import output_bias, output_layer, sequential
from keras_vq.networks.residual_convolutional import downsampling, upsampling


class TwoLevelNetworks(NamedTuple):
    """The networks of a `VQVAE2`, in the order of its arguments.

    Example:
        >>> import keras_vq
        >>> networks = keras_vq.networks.two_level((32, 32, 3), filters=(16, 32))
        >>> networks.top_encoder.output_shape, networks.bottom_head.output_shape
        ((None, 4, 4, 64), (None, 8, 8, 64))
    """

    bottom_encoder: keras.Model
    top_encoder: keras.Model
    top_decoder: keras.Model
    bottom_head: keras.Model
    decoder: keras.Model


def two_level(
    image_shape: tuple[int, int, int],
    filters: Sequence[int] = (64, 128),
    latent_dim: int = 64,
    residual_blocks: int = 2,
    residual_filters: int = 32,
    output_activation: str | None = "clip",
    pad: bool = False,
) -> TwoLevelNetworks:
    """The networks of VQ-VAE-2, with a top level of half the height and width of the bottom one.

    The bottom encoder and the decoder are those of `residual_convolutional`, the encoder without
    its 1x1 convolution. The top encoder halves the bottom features once more, and the top decoder
    mirrors it. Source: Razavi et al., "Generating Diverse High-Fidelity Images with VQ-VAE-2",
    2019, section 3.1.

    Args:
        image_shape: (height, width, channels); 2 to the power of the number of strided layers
            and one more must divide height and width, unless `pad` is True.
        filters: Filters of each strided convolution of the bottom encoder; the decoder mirrors
            them.
        latent_dim: Dimension of the vectors that each level quantizes.
        residual_blocks: Blocks in each residual stack.
        residual_filters: Filters inside a block.
        output_activation: What bounds the pixels: "clip", a `StraightThroughClip` to [0, 1],
            suits squared and absolute errors; "sigmoid" a Bernoulli likelihood, the VAE's
            default; any other is Keras's; None leaves them as they are.
        pad: Boolean. Whether to pad images whose height or width the strides do not divide: the
            encoder repeats the pixels at the edge, the decoder crops its outputs to
            `image_shape`. False raises an error for such sizes.

    Returns:
        The networks. With n strided convolutions: images -> bottom features
        `(batch, height / 2ⁿ, width / 2ⁿ, filters[-1])` -> top latents
        `(batch, height / 2ⁿ⁺¹, width / 2ⁿ⁺¹, latent_dim)` -> decoded top, of the size of the
        bottom; the two side by side -> bottom latents; the vectors of both levels side by side ->
        images.

    Raises:
        ValueError: If a shape or width is not one, or the strides don't divide the images.

    Example:
        >>> import keras_vq
        >>> networks = keras_vq.networks.two_level((32, 32, 3))
        >>> sum(network.count_params() for network in networks)
        1528131
    """
    filters = check_widths("filters", filters)
    scale = 2 ** len(filters)
    height, width, channels = check_image_shape(image_shape, 2 * scale, pad)
    padding = padding_to_multiple((height, width), 2 * scale)
    _validation.check_positive_integer("latent_dim", latent_dim)
    hidden, stack = filters[-1], (residual_blocks, residual_filters)

    bottom, top = (tuple(size // by for size in padding.sizes) for by in (scale, 2 * scale))

    def to_latents() -> keras.Layer:
        return layers.Conv2D(latent_dim, 1, data_format="channels_last")

    return TwoLevelNetworks(
        sequential(
            "bottom_encoder",
            (height, width, channels),
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
                *upsampling(filters, channels, *stack, output_bias(output_activation)),
                *padding.crop,
                output_layer(output_activation),
            ],
        ),
    )
