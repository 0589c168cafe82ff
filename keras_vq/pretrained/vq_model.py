"""Converter of `VQModel` of diffusers (VQGAN, VQ-Diffusion, latent diffusion with codes)."""

from typing import Any

from keras_vq._types import Shape
from keras_vq.models import VQVAE
from keras_vq.networks import latent_diffusion
from keras_vq.pretrained._diffusers import DEFAULTS, config_of, network_arguments, renamed
from keras_vq.pretrained._errors import ConversionError
from keras_vq.pretrained._family import Config, Family, Tensors, config_shape, filled, has_entry
from keras_vq.pretrained._naming import DIFFUSERS, codebook_map, network_map, structure
from keras_vq.pretrained._tensors import NameMap
from keras_vq.quantizers import VectorQuantizer

_NAME = "VQModel"
_DEFAULTS: Config = {
    **DEFAULTS,
    "latent_channels": 3,
    "num_vq_embeddings": 256,
    "vq_embed_dim": None,
    "norm_type": "group",
}


def _build(
    config: Config, tensors: Tensors, input_shape: Shape | None, provenance: dict[str, Any]
) -> VQVAE:
    del tensors
    given = filled(config, _DEFAULTS, _NAME)
    encoder, decoder = latent_diffusion(
        config_shape(input_shape, given["in_channels"]),
        latent_dim=given["vq_embed_dim"] or given["latent_channels"],
        z_channels=given["latent_channels"],
        **network_arguments(given, _NAME),
    )
    provenance = {**provenance, "scaling_factor": given["scaling_factor"]}
    return vqvae(encoder, decoder, given["num_vq_embeddings"], "euclidean", provenance)


def vqvae(
    encoder: Any, decoder: Any, codebook_size: int, metric: Any, provenance: dict[str, Any]
) -> VQVAE:
    """Returns a model with a codebook that is trained by gradient, as in VQGAN."""
    quantizer = VectorQuantizer(codebook_size, codebook="gradient_codebook", metric=metric)
    provenance = {**provenance, "value_range": [-1.0, 1.0]}
    return VQVAE(encoder, quantizer, decoder, provenance=provenance)


def _name_map(model: VQVAE) -> NameMap:
    return {
        **network_map(DIFFUSERS, model.encoder, model.decoder),
        **codebook_map(model.quantizer.codebook.embeddings),
    }


def _to_source(model: Any) -> tuple[Config, NameMap]:
    arguments = structure(model.encoder)
    quantizer = model.quantizer
    metric = getattr(quantizer, "metric", None)
    if not isinstance(quantizer, VectorQuantizer) or metric != "euclidean":
        raise ConversionError(
            f"A {_NAME} must have a VectorQuantizer with the Euclidean metric. "
            f"Received: {type(quantizer).__name__} with metric={metric!r}"
        )
    if arguments["quant_kernel_size"] != 1:
        raise ConversionError(
            f"A {_NAME} must have networks with `quant_kernel_size` = 1. "
            f"Received: {arguments['quant_kernel_size']}"
        )
    config = {
        "_class_name": _NAME,
        **config_of(arguments, model.input_shape[-1]),
        "latent_channels": arguments["z_channels"],
        "num_vq_embeddings": quantizer.codebook_sizes[0],
        "vq_embed_dim": quantizer.dim,
        "scaling_factor": (model.provenance or {}).get("scaling_factor", 1.0),
    }
    return config, {
        **network_map(DIFFUSERS, model.encoder, model.decoder),
        **codebook_map(quantizer.code_vectors()),
    }


FAMILY = Family(
    _NAME,
    has_entry("_class_name", _NAME),
    _build,
    _name_map,
    renamed,
    to_source=_to_source,
    model_class=VQVAE,
)
