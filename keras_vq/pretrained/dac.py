"""Converter of `DacModel` of transformers (Descript audio codec at 16, 24 and 44.1 kHz)."""

import math
import re
from typing import Any

from keras import layers

from keras_vq._types import Shape
from keras_vq.layers import Snake
from keras_vq.models import VQVAE
from keras_vq.networks import dac
from keras_vq.pretrained._family import Config, Family, Tensors, config_shape, filled, has_entry
from keras_vq.pretrained._sound import (
    OPTIONS,
    check_stages,
    sound_model,
    stages_of,
    without_weight_norm,
)
from keras_vq.pretrained._tensors import CONV_1D, Layout, NameMap, Slot, layer_map
from keras_vq.quantizers import ProjectedQuantizer, VectorQuantizer

_NAME = "DacModel"
_DEFAULTS: Config = {
    "encoder_hidden_size": 64,
    "downsampling_ratios": (2, 4, 8, 8),
    "decoder_hidden_size": 1536,
    "n_codebooks": 9,
    "codebook_size": 1024,
    "codebook_dim": 8,
    "sampling_rate": 16_000,
    "hidden_size": None,
    "commitment_loss_weight": 0.25,
}
_STAGES = "quantizer.quantizers"
# Per channel, with axes for batch and time in the source.
_ALPHA = Layout(lambda array: array[0, :, 0], lambda array: array[None, :, None])
# A convolution of width 1 in the source that is a dense layer in Keras.
_DENSE = Layout(lambda array: array[:, :, 0].T, lambda array: array.T[:, :, None])
_BLOCK = re.compile(r"block_(\d+)_(?:(res_unit\d)_)?(.*)")


def _build(
    config: Config,
    tensors: Tensors,
    input_shape: Shape | None,
    provenance: dict[str, Any],
    **options: Any,
) -> VQVAE:
    given = filled(config, _DEFAULTS, _NAME)
    size, rate, strides = (
        given[name] for name in ("codebook_size", "sampling_rate", "downsampling_ratios")
    )
    check_stages(tensors, _STAGES, given["n_codebooks"], size)
    pair = dac(
        config_shape(input_shape, 1, ("samples",)),
        filters=given["encoder_hidden_size"],
        decoder_filters=given["decoder_hidden_size"],
        latent_dim=given["hidden_size"],
        strides=strides,
    )
    frame_rate = math.ceil(rate / math.prod(strides))
    stages = [
        ProjectedQuantizer(
            VectorQuantizer(
                size,
                codebook="gradient_codebook",
                commitment_weight=given["commitment_loss_weight"],
                metric="angle",
            ),
            layers.Dense(given["codebook_dim"]),
            layers.Dense(pair.encoder.output_shape[-1]),
        )
        for _ in range(stages_of(given["n_codebooks"], size, frame_rate, **options))
    ]
    return sound_model(pair, stages, {**provenance, "sample_rate": rate})


def _network_map(side: str, network: Any) -> NameMap:
    found: NameMap = {}
    for layer in network.layers:
        match = _BLOCK.fullmatch(layer.name)
        parts = ("block", *filter(None, match.groups())) if match else (layer.name,)
        prefix = ".".join((side, *parts))
        if isinstance(layer, Snake):
            found[f"{prefix}.alpha"] = Slot((layer.alpha,), _ALPHA)
        elif layer.weights:
            found |= layer_map(prefix, layer, CONV_1D)
    return found


def _name_map(model: VQVAE) -> NameMap:
    found = _network_map("encoder", model.encoder) | _network_map("decoder", model.decoder)
    for place, stage in enumerate(model.quantizer.quantizers):
        prefix = f"{_STAGES}.{place}"
        found |= layer_map(f"{prefix}.in_proj", stage.given_project_in, _DENSE)
        found |= layer_map(f"{prefix}.out_proj", stage.given_project_out, _DENSE)
        found[f"{prefix}.codebook.weight"] = Slot((stage.quantizer.codebook.embeddings,))
    return found


FAMILY = Family(
    _NAME,
    has_entry("model_type", "dac"),
    _build,
    _name_map,
    without_weight_norm,
    # The later stages, if fewer are used.
    ignored=(r"quantizer\.quantizers\.\d+\.(in_proj|out_proj|codebook)\.(weight|bias)",),
    options=OPTIONS,
)
