"""Converter of the multi-scale VQVAE of VAR.

Its file has no configuration: the networks are inferred from the names and shapes of tensors.
"""

import re
from collections.abc import Collection
from typing import Any

from keras_vq._types import Shape
from keras_vq.models import VQVAE
from keras_vq.networks import latent_diffusion
from keras_vq.pretrained._errors import ConversionError
from keras_vq.pretrained._family import (
    Config,
    Family,
    Tensors,
    check_fixed,
    config_shape,
    filled,
)
from keras_vq.pretrained._naming import codebook_map, network_map, size
from keras_vq.pretrained._tensors import NameMap, layer_map
from keras_vq.pretrained.taming import CODEBOOK, STEM, TAMING, is_multi_scale, network_arguments
from keras_vq.quantizers import MultiScaleQuantizer, VectorQuantizer

_NAME = "VAR VQVAE"
_DEFAULTS: Config = {
    "norm_num_groups": 32,
    # Grids of the model for 256 x 256 pixels.
    "v_patch_nums": (1, 2, 3, 4, 5, 6, 8, 10, 13, 16),
}
_FIXED = {"quant_resi": 0.5, "using_znorm": False}
_NAMING = TAMING._replace(parts={**TAMING.parts, "qkv": "qkv"})
_PHI = "quantize.quant_resi"
# The names depend on whether φ is shared by all, some or no scales.
_SHARED = f"{_PHI}.qresi"
_SOME = f"{_PHI}.qresi_ls"
_KERNELS = re.compile(rf"{re.escape(_PHI)}\.(qresi|(qresi_ls\.)?\d{{1,3}})\.weight")


def _matches(config: Config, names: Collection[str]) -> bool:
    del config
    return is_multi_scale(names) and CODEBOOK in names


def _build(
    config: Config, tensors: Tensors, input_shape: Shape | None, provenance: dict[str, Any]
) -> VQVAE:
    check_fixed(config, _FIXED, _NAME)
    given = filled(config, _DEFAULTS, _NAME)
    arguments = network_arguments(_NAMING, given, tensors)
    scales = list(given["v_patch_nums"])
    side = scales[-1] * 2 ** (len(arguments["filters"]) - 1)
    channels = size(tensors, STEM, 1)
    shape = config_shape(input_shape or (side, side, channels), channels)
    if shape[:2] != (side, side):
        raise ConversionError(
            f"A {_NAME} with `v_patch_nums` = {scales} must have an `input_shape` of "
            f"({side}, {side}, {channels}). Pass `config` with other scales. "
            f"Received: {input_shape!r}"
        )
    dim = size(tensors, CODEBOOK, 1)
    encoder, decoder = latent_diffusion(shape, latent_dim=dim, **arguments)
    quantizer = MultiScaleQuantizer(
        VectorQuantizer(size(tensors, CODEBOOK), codebook="gradient_codebook"),
        scales,
        num_phi=sum(_KERNELS.fullmatch(name) is not None for name in tensors),
        use_bias=True,
    )
    provenance = {**provenance, "value_range": [-1.0, 1.0]}
    return VQVAE(encoder, quantizer, decoder, provenance=provenance)


def _name_map(model: VQVAE) -> NameMap:
    quantizer = model.quantizer
    found = {
        **network_map(_NAMING, model.encoder, model.decoder),
        **codebook_map(quantizer.quantizer.codebook.embeddings),
    }
    for place, convolution in enumerate(quantizer.convolutions):
        if quantizer.num_phi == 1:
            name = _SHARED
        elif quantizer.num_phi == len(quantizer.scales):
            name = f"{_PHI}.{place}"
        else:
            name = f"{_SOME}.{place}"
        found |= layer_map(name, convolution)
    return found


FAMILY = Family(
    _NAME, _matches, _build, _name_map, ignored=(r"quantize\.ema_vocab_hit_SV", r"loss\..*")
)
