"""Converter of `AutoencoderTiny` of diffusers (TAESD)."""

import itertools
from typing import Any

from keras import layers

from keras_vq._types import Shape
from keras_vq.layers import PostActivationBlock
from keras_vq.models import Autoencoder
from keras_vq.networks import tiny_autoencoder
from keras_vq.pretrained._errors import ConversionError
from keras_vq.pretrained._family import (
    Config,
    Family,
    Tensors,
    check_fixed,
    config_shape,
    filled,
    has_entry,
)
from keras_vq.pretrained._tensors import NameMap, layer_map

_NAME = "AutoencoderTiny"
_DEFAULTS = {
    "in_channels": 3,
    "out_channels": 3,
    "encoder_block_out_channels": (64, 64, 64, 64),
    "decoder_block_out_channels": (64, 64, 64, 64),
    "num_encoder_blocks": (1, 3, 3, 3),
    "num_decoder_blocks": (3, 3, 3, 1),
    "act_fn": "relu",
    "latent_channels": 4,
    "scaling_factor": 1.0,
    "shift_factor": 0.0,
}
_FIXED = {
    "upsampling_scaling_factor": 2,
    "upsample_fn": "nearest",
    "act_fn": ("relu", "silu", "gelu", "mish"),
}


def _build(
    config: Config, tensors: Tensors, input_shape: Shape | None, provenance: dict[str, Any]
) -> Autoencoder:
    del tensors
    check_fixed(config, _FIXED, _NAME)
    given = filled(config, _DEFAULTS, _NAME)
    widths = {*given["encoder_block_out_channels"], *given["decoder_block_out_channels"]}
    if len(widths) != 1 or given["in_channels"] != given["out_channels"]:
        raise ConversionError(
            f"A {_NAME} must have the same channels in all blocks, and as many output channels as "
            f"input channels. Received: blocks with {sorted(widths)} channels, "
            f"in_channels={given['in_channels']}, out_channels={given['out_channels']}"
        )
    pair = tiny_autoencoder(
        config_shape(input_shape, given["in_channels"]),
        filters=widths.pop(),
        latent_dim=given["latent_channels"],
        blocks=given["num_encoder_blocks"],
        decoder_blocks=given["num_decoder_blocks"],
        activation=given["act_fn"],
    )
    provenance = {
        **provenance,
        "value_range": [0.0, 1.0],
        "scaling_factor": given["scaling_factor"],
        "shift_factor": given["shift_factor"],
    }
    return Autoencoder(*pair, provenance=provenance)


def _name_map(model: Autoencoder) -> NameMap:
    return {
        **_numbered("encoder.layers", model.encoder, (layers.Conv2D, PostActivationBlock)),
        **_numbered(
            "decoder.layers",
            model.decoder,
            (layers.Conv2D, PostActivationBlock, layers.UpSampling2D),
        ),
    }


def _to_source(model: Any) -> tuple[Config, NameMap]:
    parts = (model.encoder, model.decoder)
    blocks = [[layer for layer in part.layers if _is_block(layer)] for part in parts]
    convolutions = [layer for layer in model.encoder.layers if isinstance(layer, layers.Conv2D)]
    if not all(blocks):
        raise ConversionError(
            f"An {_NAME} must have the networks of keras_vq.networks.tiny_autoencoder. "
            f"Received: an encoder with {len(blocks[0])} and a decoder with {len(blocks[1])} "
            "blocks of the class PostActivationBlock"
        )
    counts = [_blocks_per_resolution(part) for part in parts]
    recorded = model.provenance or {}
    widths = [convolutions[0].filters] * len(counts[0])
    channels = model.input_shape[-1]
    config = {
        "_class_name": _NAME,
        "in_channels": channels,
        "out_channels": channels,
        "encoder_block_out_channels": widths,
        "decoder_block_out_channels": widths,
        "num_encoder_blocks": counts[0],
        "num_decoder_blocks": counts[1],
        "act_fn": blocks[0][0].activation.__name__,
        "latent_channels": convolutions[-1].filters,
        "scaling_factor": recorded.get("scaling_factor", 1.0),
        "shift_factor": recorded.get("shift_factor", 0.0),
    }
    return config, _name_map(model)


def _is_block(layer: Any) -> bool:
    return isinstance(layer, PostActivationBlock)


def _blocks_per_resolution(part: Any) -> list[int]:
    """Returns the lengths of the runs of blocks in a network."""
    runs = itertools.groupby(part.layers, _is_block)
    return [len(list(run)) for is_block, run in runs if is_block]


def _numbered(prefix: str, part: Any, counted: tuple[type, ...]) -> NameMap:
    """Returns the name map of layers that the source numbers in one list."""
    found: NameMap = {}
    place = 0
    for layer in part.layers:
        if isinstance(layer, PostActivationBlock):
            for index, convolution in enumerate(layer.convolutions):
                found |= layer_map(f"{prefix}.{place}.conv.{2 * index}", convolution)
        elif isinstance(layer, layers.Conv2D):
            found |= layer_map(f"{prefix}.{place}", layer)
            # The activation after the first convolution of the decoder is a layer of the source.
            place += layer.activation.__name__ != "linear"
        place += isinstance(layer, counted)
    return found


FAMILY = Family(
    _NAME,
    has_entry("_class_name", _NAME),
    _build,
    _name_map,
    to_source=_to_source,
    model_class=Autoencoder,
)
