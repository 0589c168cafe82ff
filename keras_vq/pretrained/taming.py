"""Converters of the layouts of taming-transformers and latent diffusion (VQ and KL), and LlamaGen.

These files have no configuration: the networks are inferred from the names and shapes of tensors.
"""

from collections.abc import Callable, Collection
from typing import Any

from keras_vq._types import Shape
from keras_vq.models import VAE, VQVAE
from keras_vq.networks import latent_diffusion
from keras_vq.pretrained._errors import ConversionError
from keras_vq.pretrained._family import Config, Family, Tensors, config_shape, filled
from keras_vq.pretrained._naming import Naming, codebook_map, inferred, network_map, size
from keras_vq.pretrained._tensors import POINTWISE, NameMap
from keras_vq.pretrained.autoencoder_kl import name_map_of, vae
from keras_vq.pretrained.vq_model import vqvae

_PARTS = {
    "shortcut": "nin_shortcut",
    "norm": "norm",
    "query": "q",
    "key": "k",
    "value": "v",
    "output_projection": "proj_out",
}
TAMING = Naming(
    {
        "down_block": "down.{level}.block.{place}",
        "down_attention": "down.{level}.attn.{place}",
        "down_downsample": "down.{level}.downsample.conv",
        "mid_block": "mid.block_{ordinal}",
        "mid_attention": "mid.attn_{ordinal}",
        "up_block": "up.{level}.block.{place}",
        "up_attention": "up.{level}.attn.{place}",
        "up_upsample": "up.{level}.upsample.conv",
    },
    _PARTS,
    POINTWISE,
)
LLAMAGEN = Naming(
    {
        "down_block": "conv_blocks.{level}.res.{place}",
        "down_attention": "conv_blocks.{level}.attn.{place}",
        "down_downsample": "conv_blocks.{level}.downsample.conv",
        "mid_block": "mid.{double}",
        "mid_attention": "mid.1",
        "up_block": "conv_blocks.{mirrored}.res.{place}",
        "up_attention": "conv_blocks.{mirrored}.attn.{place}",
        "up_upsample": "conv_blocks.{mirrored}.upsample.conv",
    },
    _PARTS,
    POINTWISE,
)
CODEBOOK = "quantize.embedding.weight"
STEM = "encoder.conv_in.weight"
_DEFAULTS = {"norm_num_groups": 32}
# The loss of the training: a discriminator and LPIPS.
_LOSS = (r"loss\..*", r"model_ema\..*")


def _has(block: str, quantizer: bool) -> Callable[[Config, Collection[str]], bool]:
    def matches(config: Config, names: Collection[str]) -> bool:
        del config
        found = f"encoder.{block}.0.{'block' if block == 'down' else 'res'}.0.conv1.weight"
        return found in names and (CODEBOOK in names) == quantizer and not is_multi_scale(names)

    return matches


def is_multi_scale(names: Collection[str]) -> bool:
    """Returns whether tensors are those of VAR, whose networks have the same names."""
    return any(name.startswith("quantize.quant_resi") for name in names)


def network_arguments(naming: Naming, config: Config, tensors: Tensors) -> dict[str, Any]:
    """Returns the arguments of `networks.latent_diffusion`."""
    arguments = inferred(naming, tensors)
    stem = size(tensors, STEM)
    if stem != arguments["filters"][0]:
        raise ConversionError(
            "The first convolution must have the channels of the first resolution. "
            f"Received: {stem} and {arguments['filters'][0]} channels"
        )
    return {**arguments, "groups": config["norm_num_groups"]}


def _vq_family(name: str, naming: Naming, block: str, metric: str) -> Family:
    def build(
        config: Config, tensors: Tensors, input_shape: Shape | None, provenance: dict[str, Any]
    ) -> VQVAE:
        # LlamaGen can be trained without unit vectors, which tensors do not show.
        given = filled(config, {**_DEFAULTS, "codebook_l2_norm": metric == "cosine"}, name)
        encoder, decoder = latent_diffusion(
            config_shape(input_shape, size(tensors, STEM, 1)),
            latent_dim=size(tensors, CODEBOOK, 1),
            **network_arguments(naming, given, tensors),
        )
        used_metric = "cosine" if given["codebook_l2_norm"] else "euclidean"
        return vqvae(encoder, decoder, size(tensors, CODEBOOK), used_metric, provenance)

    def name_map(model: VQVAE) -> NameMap:
        return {
            **network_map(naming, model.encoder, model.decoder),
            **codebook_map(model.quantizer.codebook.embeddings),
        }

    ignored = (*_LOSS, r"quantize\.codebook_used")
    return Family(name, _has(block, True), build, name_map, ignored=ignored)


def _build_kl(
    config: Config, tensors: Tensors, input_shape: Shape | None, provenance: dict[str, Any]
) -> VAE:
    # The name in configurations of latent diffusion is `scale_factor`.
    defaults = {**_DEFAULTS, "scale_factor": 1.0, "scaling_factor": None}
    given = filled(config, defaults, "latent diffusion KL")
    arguments = network_arguments(TAMING, given, tensors)
    latent_dim = size(tensors, "decoder.conv_in.weight", 1)
    encoder, decoder = latent_diffusion(
        config_shape(input_shape, size(tensors, STEM, 1)),
        latent_dim=latent_dim,
        double_z=True,
        **{**arguments, "z_channels": arguments["z_channels"] // 2},
    )
    scaling = given["scaling_factor"]
    provenance = {
        **provenance,
        "scaling_factor": given["scale_factor"] if scaling is None else scaling,
    }
    return vae(encoder, decoder, latent_dim, provenance)


def _kl_name_map(model: VAE) -> NameMap:
    return name_map_of(model, TAMING)


VQ_FAMILY = _vq_family("taming VQGAN", TAMING, "down", "euclidean")
KL_FAMILY = Family(
    "latent diffusion KL", _has("down", False), _build_kl, _kl_name_map, ignored=_LOSS
)
LLAMAGEN_FAMILY = _vq_family("LlamaGen VQ", LLAMAGEN, "conv_blocks", "cosine")
