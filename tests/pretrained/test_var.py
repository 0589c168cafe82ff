"""Tests of the converter of VAR's multi-scale VQVAE.

The reference is written here in PyTorch from the definition in the paper (Tian et al., 2024,
section 3.2, algorithms 1 and 2), on the encoder and decoder of a live model of diffusers.
"""

import numpy as np
import pytest
from safetensors.numpy import save_file

import keras_vq
from keras_vq.pretrained import ConversionError
from tests.pretrained.cases import LDM
from tests.pretrained.references import (
    from_torch,
    live,
    photographs,
    pixels,
    randomized,
    spread,
    to_torch,
    torch,
)
from tests.pretrained.test_taming import TAMING, renamed

SMALL = {"block_out_channels": [8], "norm_num_groups": 4}
VAR = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
# Names of the convolutions of φ, and the index of the convolution of each scale.
CASES = {
    "partly_shared": (LDM, VAR, "qresi_ls.{}", [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]),
    "shared": (SMALL, (1, 2, 4, 8), "qresi", [0, 0, 0, 0]),
    "own": (SMALL, (1, 3, 8), "{}", [0, 1, 2]),
}
functional = torch.nn.functional


class Reference:
    """Multi-scale VQVAE of VAR in PyTorch."""

    def __init__(self, config, scales, places):
        self.model = live("VQModel", **config)
        self.scales, self.places = scales, places
        torch.manual_seed(1)
        self.embeddings = torch.randn(64, 3)
        self.phi = [randomized(torch.nn.Conv2d(3, 3, 3, padding=1)) for _ in range(max(places) + 1)]
        self.quant, self.post = (randomized(torch.nn.Conv2d(3, 3, 3, padding=1)) for _ in range(2))

    def prepare(self, images):
        """Changes the last layers so that many codes are used, and few pixels clipped."""
        spread(self.quant, self.latents(images), deviation=1.0)
        spread(self.model.decoder.conv_out, self.decoded(self.quantized(images)[1]))

    def latents(self, images):
        return self.quant(self.model.encoder(to_torch(images)))

    def quantized(self, images):
        """Returns the codes of all scales, and the sum of the upsampled scales."""
        residual = self.latents(images)
        size = residual.shape[2:]
        total, codes = torch.zeros_like(residual), []
        for scale, place in zip(self.scales, self.places, strict=True):
            cells = functional.interpolate(residual, size=(scale, scale), mode="area")
            distances = torch.cdist(cells.permute(0, 2, 3, 1).flatten(0, 2), self.embeddings)
            found = distances.argmin(-1).reshape(len(images), scale, scale)
            upsampled = functional.interpolate(
                self.embeddings[found].permute(0, 3, 1, 2), size=size, mode="bicubic"
            )
            mixed = 0.5 * upsampled + 0.5 * self.phi[place](upsampled)
            total, residual = total + mixed, residual - mixed
            codes.append(found.flatten(1))
        return torch.cat(codes, 1), total

    def decoded(self, total):
        return self.model.decoder(self.post(total))

    def tensors(self, phi):
        """Returns all tensors under the names of VAR."""
        found = renamed(self.model, TAMING)
        for name in [name for name in found if ".q." in name]:
            parts = [found.pop(name.replace(".q.", f".{part}.")) for part in "qkv"]
            found[name.replace(".q.", ".qkv.")] = np.concatenate(parts)
        names = {"quant_conv": self.quant, "post_quant_conv": self.post}
        for place, convolution in enumerate(self.phi):
            names[f"quantize.quant_resi.{phi.format(place)}"] = convolution
        for name, convolution in names.items():
            found[f"{name}.weight"] = convolution.weight.numpy()
            found[f"{name}.bias"] = convolution.bias.numpy()
        found["quantize.embedding.weight"] = self.embeddings.numpy()
        found["quantize.ema_vocab_hit_SV"] = np.zeros((len(self.scales), 64), "float32")
        return found


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_codes_and_images_are_those_of_the_definition(name, tmp_path):
    network, scales, phi, places = CASES[name]
    side = scales[-1] * 2 ** (len(network["block_out_channels"]) - 1)
    images = photographs(side, side)
    theirs = Reference(network, scales, places)
    theirs.prepare(images)
    codes, total = theirs.quantized(images)
    save_file(theirs.tensors(phi), tmp_path / "vae.safetensors")
    config = {"norm_num_groups": network["norm_num_groups"], "v_patch_nums": scales}
    ours = keras_vq.from_pretrained(tmp_path / "vae.safetensors", config)
    assert ours.input_shape == (None, side, side, 3)
    np.testing.assert_allclose(
        ours.encode_latents(images), from_torch(theirs.latents(images)), rtol=1e-4, atol=1e-4
    )
    np.testing.assert_array_equal(ours.encode(images), codes)
    assert len(codes.unique()) > 20
    np.testing.assert_allclose(ours.decode(codes), pixels(theirs.decoded(total)), atol=1e-4)
    np.testing.assert_allclose(
        ours.encode_quantized(images), from_torch(total), rtol=1e-4, atol=1e-4
    )


@pytest.mark.backend_free
@pytest.mark.parametrize(
    ("change", "input_shape", "message"),
    [
        (
            {"v_patch_nums": (1, 2)},
            (16, 16, 3),
            r"\[1, 2\] must have an `input_shape` of \(2, 2, 3\)",
        ),
        ({"quant_resi": 0.25}, None, "`quant_resi` = 0.5"),
        ({"using_znorm": True}, None, "`using_znorm` = False"),
        ({"v_patch_nums": 8}, None, "`v_patch_nums` of the type of"),
    ],
)
def test_configurations_that_do_not_fit(change, input_shape, message, tmp_path):
    network, scales, phi, places = CASES["shared"]
    path = tmp_path / "vae.safetensors"
    with torch.no_grad():
        save_file(Reference(network, scales, places).tensors(phi), path)
    config = {"norm_num_groups": 4, "v_patch_nums": scales, **change}
    with pytest.raises(ConversionError, match=message):
        keras_vq.from_pretrained(path, config, input_shape)
