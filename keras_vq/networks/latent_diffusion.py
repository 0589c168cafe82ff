"""Encoder and decoder of VQGAN and latent diffusion."""

from collections.abc import Sequence
from typing import Any

from keras import layers

from keras_vq import _validation
from keras_vq.layers.resnet_block_2d import ResNetBlock2D
from keras_vq.layers.self_attention_2d import SelfAttention2D
from keras_vq.networks._shapes import check_widths, dynamic_image_shape
from keras_vq.networks.pair import EncoderDecoder, output_layer, sequential

_FORMAT: dict[str, Any] = {"data_format": "channels_last"}
_SAME: dict[str, Any] = {"padding": "same", **_FORMAT}


def latent_diffusion(
    image_shape: tuple[int | None, int | None, int] = (None, None, 3),
    filters: Sequence[int] = (128, 256, 512, 512),
    latent_dim: int = 4,
    blocks: int = 2,
    attention_levels: Sequence[int] = (),
    mid_attention: bool = True,
    groups: int = 32,
    dropout: float = 0.0,
    double_z: bool = False,
    z_channels: int | None = None,
    quant_kernel_size: int | None = 1,
    output_activation: str | None = "clip",
    rematerialize: bool = False,
) -> EncoderDecoder:
    """Builds the encoder and decoder of VQGAN and of the autoencoders of latent diffusion.

    The encoder has ResNet blocks with group normalization at each resolution, self-attention at
    some of them, strided convolutions in between, and two blocks with attention in the middle. The
    decoder mirrors it, with one more block per resolution and nearest-neighbor upsampling. The
    networks map pixels from [0, 1] to [-1, 1] and back. With the defaults and `double_z=True` these
    are the networks of the autoencoder of Stable Diffusion. Sources: Esser et al., "Taming
    Transformers for High-Resolution Image Synthesis" (VQGAN), 2020; Rombach et al.,
    "High-Resolution Image Synthesis with Latent Diffusion Models", 2022.

    Args:
        image_shape: Tuple. (height, width, channels). Height and width must be multiples of
            2ⁿ⁻¹, where n is the number of resolutions, or `None` for any such size. Defaults to
            (None, None, 3).
        filters: Sequence of integers. Channels at each resolution, finest first. Defaults to
            (128, 256, 512, 512).
        latent_dim: Integer. Channels of the latent map. Defaults to 4.
        blocks: Integer. ResNet blocks of the encoder per resolution. The decoder has one more.
            Defaults to 2.
        attention_levels: Sequence of integers. Indices into `filters` of the resolutions whose
            blocks are followed by self-attention. Defaults to (), for none.
        mid_attention: Boolean. Whether the middle has self-attention. Defaults to `True`.
        groups: Integer. Groups of each normalization, a divisor of all `filters`. Defaults to 32.
        dropout: Float in [0, 1). Dropout rate of the ResNet blocks. Defaults to 0.0.
        double_z: Boolean. Whether the encoder returns 2 x `z_channels` features instead of latents,
            as `VAE` expects. Defaults to `False`.
        z_channels: Integer. Output channels of the last 3x3 convolution of the encoder. Defaults to
            `None`, for `latent_dim`.
        quant_kernel_size: Integer. Kernel size of the convolutions next to the latents (in the
            encoder without `double_z` only), or `None` to omit them. Defaults to 1.
        output_activation: String. "clip", another Keras activation, or `None` for unbounded
            outputs; see `convolutional`. Defaults to "clip".
        rematerialize: Boolean. Whether training recomputes blocks in the backward pass
            (`keras.remat`), which takes more time and less memory. Defaults to `False`.

    Returns:
        An `EncoderDecoder`: images -> `(batch, height / 2ⁿ⁻¹, width / 2ⁿ⁻¹, latent_dim)` -> images.

    Raises:
        ValueError: If an argument is invalid, or the strides do not divide the image size.

    Example:
        >>> import keras_vq
        >>> encoder, decoder = keras_vq.networks.latent_diffusion(
        ...     (32, 32, 3), filters=(32, 64), latent_dim=8, blocks=1, attention_levels=(1,)
        ... )
        >>> encoder.output_shape, decoder.output_shape
        ((None, 16, 16, 8), (None, 32, 32, 3))
    """
    filters = check_widths("filters", filters)
    levels = range(len(filters))
    _validation.check_positive_integer("latent_dim", latent_dim)
    _validation.check_positive_integer("blocks", blocks)
    z_channels = _validation.check_positive_integer("z_channels", z_channels or latent_dim)
    if not set(attention_levels) <= set(levels):
        raise ValueError(
            f"`attention_levels` must be indices into `filters`, from 0 to {len(filters) - 1}. "
            f"Received: {attention_levels!r}"
        )
    if quant_kernel_size is None and z_channels != latent_dim:
        raise ValueError(
            "`z_channels` must be `latent_dim` without the convolutions of `quant_kernel_size`. "
            f"Received: z_channels={z_channels}, latent_dim={latent_dim}"
        )
    shape, map_shape = dynamic_image_shape(image_shape, 2 ** (len(filters) - 1))

    def block(width: int, name: str) -> ResNetBlock2D:
        return ResNetBlock2D(width, groups, dropout, rematerialize=rematerialize, name=name)

    def attention(name: str) -> SelfAttention2D:
        return SelfAttention2D(groups, rematerialize, name=name)

    def level(index: int, direction: str, count: int) -> list[Any]:
        found: list[Any] = []
        for place in range(count):
            found.append(block(filters[index], f"{direction}_{index}_block_{place}"))
            if index in attention_levels:
                found.append(attention(f"{direction}_{index}_attention_{place}"))
        return found

    middle = lambda: [  # noqa: E731
        block(filters[-1], "mid_block_0"),
        *([attention("mid_attention_0")] if mid_attention else []),
        block(filters[-1], "mid_block_1"),
    ]

    def quant(width: int, name: str) -> list[Any]:
        if quant_kernel_size is None:
            return []
        return [layers.Conv2D(width, quant_kernel_size, name=name, **_SAME)]

    def end(width: int) -> list[Any]:
        return [
            layers.GroupNormalization(groups, axis=-1, epsilon=1e-6, name="norm_out"),
            layers.Activation("silu", name="activation_out"),
            layers.Conv2D(width, 3, name="conv_out", **_SAME),
        ]

    encoder: list[Any] = [
        layers.Rescaling(2.0, -1.0, name="to_source_range"),
        layers.Conv2D(filters[0], 3, name="conv_in", **_SAME),
    ]
    for index in levels:
        encoder += level(index, "down", blocks)
        if index < levels[-1]:
            encoder += [
                # The strided convolutions of the source pad only the end.
                layers.ZeroPadding2D(((0, 1), (0, 1)), name=f"down_{index}_padding", **_FORMAT),
                layers.Conv2D(
                    filters[index], 3, strides=2, name=f"down_{index}_downsample", **_FORMAT
                ),
            ]
    encoder += [*middle(), *end(2 * z_channels if double_z else z_channels)]
    encoder += [] if double_z else quant(latent_dim, "quant_conv")

    decoder: list[Any] = [
        *quant(z_channels, "post_quant_conv"),
        layers.Conv2D(filters[-1], 3, name="conv_in", **_SAME),
        *middle(),
    ]
    for index in reversed(levels):
        decoder += level(index, "up", blocks + 1)
        if index:
            decoder += [
                layers.UpSampling2D(2, name=f"up_{index}_repeat", **_FORMAT),
                layers.Conv2D(filters[index], 3, name=f"up_{index}_upsample", **_SAME),
            ]
    decoder += [
        *end(shape[-1] or 0),
        layers.Rescaling(0.5, 0.5, name="from_source_range"),
        output_layer(output_activation),
    ]
    return EncoderDecoder(
        sequential("encoder", shape, encoder),
        sequential("decoder", (*map_shape, latent_dim), decoder),
    )
