"""Tests of the converter of `AutoencoderTiny` against diffusers."""

import numpy as np
import pytest

import keras_vq
from tests.pretrained.references import (
    from_torch,
    live,
    photographs,
    pixels,
    spread,
    to_torch,
    torch,
)

CONFIGS = {
    "relu": {"num_encoder_blocks": (1, 2), "num_decoder_blocks": (2, 1)},
    "gelu": {"num_encoder_blocks": (1, 1), "num_decoder_blocks": (3, 1), "act_fn": "gelu"},
    "three_resolutions": {
        "num_encoder_blocks": (1, 1, 1),
        "num_decoder_blocks": (1, 1, 1),
        "latent_channels": 16,
    },
}


def widths(config):
    count = len(config["num_encoder_blocks"])
    names = ("encoder_block_out_channels", "decoder_block_out_channels")
    return {**config, **dict.fromkeys(names, (8,) * count)}


@pytest.mark.parametrize("name", CONFIGS)
def test_latents_and_images_are_those_of_diffusers(name, tmp_path):
    theirs = live("AutoencoderTiny", **widths(CONFIGS[name]))
    images = photographs(24, 32)
    with torch.no_grad():
        outputs = theirs(to_torch(images)).sample
    spread(theirs.decoder.layers[-1], (outputs + 1) / 2, mean=0.5, deviation=0.2)
    theirs.save_pretrained(tmp_path)
    ours = keras_vq.from_pretrained(tmp_path)
    with torch.no_grad():
        latents = theirs.encode(to_torch(images)).latents
        decoded = pixels(theirs.decode(latents).sample)
    latents = from_torch(latents)
    np.testing.assert_allclose(ours.encode(images), latents, atol=1e-5 * np.abs(latents).max())
    np.testing.assert_allclose(ours.decode(latents), decoded, atol=1e-5)
    assert np.mean((decoded > 0) & (decoded < 1)) > 0.5
