"""Tests of the layouts of taming-transformers, latent diffusion and LlamaGen.

Their arithmetic is that of diffusers, whose live models are the references: their tensors are
renamed to the other layouts here, with names written out from the public sources.
"""

import re

import numpy as np
import pytest
from safetensors.numpy import save_file

import keras_vq
from keras_vq.pretrained import ConversionError
from tests.pretrained.cases import LDM, PLAIN
from tests.pretrained.references import from_torch, live, photographs, pixels, to_torch, torch

ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
# (pattern, replacement) of names of diffusers; {up} is replaced by levels - 1 - the index.
TAMING = [
    (r"encoder\.down_blocks\.(\d+)\.resnets\.(\d+)", r"encoder.down.\1.block.\2"),
    (r"encoder\.down_blocks\.(\d+)\.attentions\.(\d+)", r"encoder.down.\1.attn.\2"),
    (r"encoder\.down_blocks\.(\d+)\.downsamplers\.0", r"encoder.down.\1.downsample"),
    (r"decoder\.up_blocks\.(\d+)\.resnets\.(\d+)", r"decoder.up.<\1>.block.\2"),
    (r"decoder\.up_blocks\.(\d+)\.attentions\.(\d+)", r"decoder.up.<\1>.attn.\2"),
    (r"decoder\.up_blocks\.(\d+)\.upsamplers\.0", r"decoder.up.<\1>.upsample"),
    (r"mid_block\.resnets\.0", "mid.block_1"),
    (r"mid_block\.resnets\.1", "mid.block_2"),
    (r"mid_block\.attentions\.0", "mid.attn_1"),
]
LLAMAGEN = [
    (r"encoder\.down_blocks\.(\d+)\.resnets\.(\d+)", r"encoder.conv_blocks.\1.res.\2"),
    (r"encoder\.down_blocks\.(\d+)\.attentions\.(\d+)", r"encoder.conv_blocks.\1.attn.\2"),
    (r"encoder\.down_blocks\.(\d+)\.downsamplers\.0", r"encoder.conv_blocks.\1.downsample"),
    (r"decoder\.up_blocks\.(\d+)\.resnets\.(\d+)", r"decoder.conv_blocks.\1.res.\2"),
    (r"decoder\.up_blocks\.(\d+)\.attentions\.(\d+)", r"decoder.conv_blocks.\1.attn.\2"),
    (r"decoder\.up_blocks\.(\d+)\.upsamplers\.0", r"decoder.conv_blocks.\1.upsample"),
    (r"mid_block\.resnets\.0", "mid.0"),
    (r"mid_block\.resnets\.1", "mid.2"),
    (r"mid_block\.attentions\.0", "mid.1"),
]


def renamed(model, rules):
    """Returns the tensors of a model of diffusers in another layout."""
    levels = len(model.config.block_out_channels)
    tensors = {}
    for name, tensor in model.state_dict().items():
        array = tensor.numpy()
        for old, new in ATTENTION.items():
            if f".{old}." in name:
                name = name.replace(f".{old}.", f".{new}.")
                array = array[:, :, None, None] if array.ndim == 2 else array
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        name = re.sub(r"<(\d+)>", lambda match: str(levels - 1 - int(match[1])), name)
        name = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
        tensors[name] = np.ascontiguousarray(array)
    return tensors


CASES = {
    "taming_attention": (TAMING, "VQModel", LDM),
    "taming_plain": (TAMING, "VQModel", {**PLAIN, "vq_embed_dim": 5}),
    "taming_one_level": (TAMING, "VQModel", {"block_out_channels": [8], "norm_num_groups": 4}),
    "kl_attention": (TAMING, "AutoencoderKL", LDM),
    "kl_plain": (TAMING, "AutoencoderKL", PLAIN),
    "kl_wide": (TAMING, "AutoencoderKL", {**LDM, "latent_channels": 8}),
    "llamagen_attention": (LLAMAGEN, "VQModel", {**LDM, "vq_embed_dim": 8}),
    "llamagen_plain": (LLAMAGEN, "VQModel", {**PLAIN, "vq_embed_dim": 6}),
    "llamagen_one_level": (LLAMAGEN, "VQModel", {"block_out_channels": [8], "norm_num_groups": 2}),
}


@pytest.mark.parametrize("name", CASES)
def test_codes_and_images_are_those_of_the_layout(name, tmp_path):
    rules, kind, config = CASES[name]
    theirs = live(kind, **config)
    tensors = renamed(theirs, rules)
    # Tensors that are not part of the model.
    tensors["loss.logvar"] = np.zeros((), "float32")
    if rules is LLAMAGEN:
        tensors["quantize.codebook_used"] = np.zeros(65536, "float32")
        del tensors["loss.logvar"]
    save_file(tensors, tmp_path / "model.safetensors")
    groups = {"norm_num_groups": theirs.config.norm_num_groups}
    ours = keras_vq.from_pretrained(tmp_path / "model.safetensors", config=groups)
    images = photographs(16, 24)
    with torch.no_grad():
        encoded = theirs.encode(to_torch(images))
        if kind == "AutoencoderKL":
            latents = encoded.latent_dist.mean
            made = ours.encode(images)
            np.testing.assert_allclose(made, from_torch(latents), atol=1e-4)
        else:
            latents = encoded.latents
            codebook = theirs.quantize.embedding.weight
            vectors = latents.permute(0, 2, 3, 1)
            if rules is LLAMAGEN:  # unit vectors at every use
                codebook = torch.nn.functional.normalize(codebook, dim=-1)
                vectors = torch.nn.functional.normalize(vectors, dim=-1)
            codes = torch.cdist(vectors.reshape(-1, vectors.shape[-1]), codebook).argmin(-1)
            codes = codes.reshape(vectors.shape[:-1])
            np.testing.assert_array_equal(ours.encode(images), codes.numpy())
            assert len(codes.unique()) > 10
            latents = codebook[codes].permute(0, 3, 1, 2)
            made = ours.encode(images)
        options = {"force_not_quantize": True} if kind == "VQModel" else {}
        decoded = pixels(theirs.decode(latents, **options).sample)
    np.testing.assert_allclose(ours.decode(made), decoded, atol=1e-4)


@pytest.mark.backend_free
def test_missing_tensors_are_named(tmp_path):
    tensors = renamed(live("VQModel", **LDM), TAMING)
    del tensors["decoder.up.1.attn.0.q.weight"]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ConversionError, match=r"missing: decoder\.up\.1\.attn\.0\.q\.weight"):
        keras_vq.from_pretrained(tmp_path / "model.safetensors", {"norm_num_groups": 4})
