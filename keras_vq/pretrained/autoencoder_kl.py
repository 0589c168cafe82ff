"""Converter of `AutoencoderKL` of diffusers (the autoencoder of Stable Diffusion, SDXL, FLUX)."""

from typing import Any

import numpy as np
from keras import ops

from keras_vq._types import Shape
from keras_vq.models import VAE
from keras_vq.networks import latent_diffusion
from keras_vq.pretrained._diffusers import DEFAULTS, config_of, network_arguments, renamed
from keras_vq.pretrained._family import (
    Config,
    Family,
    Tensors,
    check_fixed,
    config_shape,
    filled,
    has_entry,
)
from keras_vq.pretrained._naming import DIFFUSERS, network_map, structure
from keras_vq.pretrained._tensors import POINTWISE, NameMap, Slot

_NAME = "AutoencoderKL"
_DEFAULTS: Config = {
    **DEFAULTS,
    "latent_channels": 4,
    "shift_factor": None,
    "use_quant_conv": True,
    "use_post_quant_conv": True,
}
# Latents of each channel are normalized by other means than one factor.
_FIXED = {"latents_mean": None, "latents_std": None}


def _build(
    config: Config, tensors: Tensors, input_shape: Shape | None, provenance: dict[str, Any]
) -> VAE:
    del tensors
    check_fixed(config, _FIXED, _NAME)
    given = filled(config, _DEFAULTS, _NAME)
    encoder, decoder = latent_diffusion(
        config_shape(input_shape, given["in_channels"]),
        latent_dim=given["latent_channels"],
        double_z=True,
        quant_kernel_size=1 if given["use_post_quant_conv"] else None,
        **network_arguments(given, _NAME),
    )
    provenance = {
        **provenance,
        "scaling_factor": given["scaling_factor"],
        "shift_factor": given["shift_factor"],
    }
    model = vae(encoder, decoder, given["latent_channels"], provenance)
    if not given["use_quant_conv"]:
        _set_identity(model)
    return model


def vae(encoder: Any, decoder: Any, latent_dim: int, provenance: dict[str, Any]) -> VAE:
    """Returns a model without a KL divergence in its loss, for fine-tuning."""
    provenance = {**provenance, "value_range": [-1.0, 1.0]}
    return VAE(encoder, decoder, latent_dim, beta=0.0, provenance=provenance)


def _set_identity(model: VAE) -> None:
    """Makes mean and log-variance the two halves of the features."""
    mean, log_variance = np.split(np.eye(2 * model.latent_dim, dtype="float32"), 2, axis=1)
    for layer, kernel in ((model.mean, mean), (model.log_variance, log_variance)):
        layer.kernel.assign(kernel)
        layer.bias.assign(np.zeros(model.latent_dim, "float32"))


def _is_identity(model: VAE) -> bool:
    parts = (model.mean, model.log_variance)
    kernel, bias = (
        np.concatenate([ops.convert_to_numpy(getattr(part, name)) for part in parts], axis=-1)
        for name in ("kernel", "bias")
    )
    return np.array_equal(kernel, np.eye(2 * model.latent_dim)) and not bias.any()


def name_map_of(model: VAE, naming: Any) -> NameMap:
    """Returns the name map of a model in the names of a source."""
    found = network_map(naming, model.encoder, model.decoder)
    if not _is_identity(model):
        parts = (model.mean, model.log_variance)
        found["quant_conv.weight"] = Slot(tuple(part.kernel for part in parts), POINTWISE)
        found["quant_conv.bias"] = Slot(tuple(part.bias for part in parts))
    return found


def _name_map(model: VAE) -> NameMap:
    return name_map_of(model, DIFFUSERS)


def _to_source(model: Any) -> tuple[Config, NameMap]:
    name_map = _name_map(model)
    recorded = model.provenance or {}
    config = {
        "_class_name": _NAME,
        **config_of(structure(model.encoder), model.input_shape[-1]),
        "latent_channels": model.latent_dim,
        "scaling_factor": recorded.get("scaling_factor", 1.0),
        "shift_factor": recorded.get("shift_factor"),
        "use_quant_conv": "quant_conv.weight" in name_map,
        "use_post_quant_conv": "post_quant_conv.weight" in name_map,
    }
    return config, name_map


FAMILY = Family(
    _NAME,
    has_entry("_class_name", _NAME),
    _build,
    _name_map,
    renamed,
    to_source=_to_source,
    model_class=VAE,
)
