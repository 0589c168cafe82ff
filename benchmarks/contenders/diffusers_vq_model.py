"""Encoding and decoding with `VQModel` of diffusers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from diffusers import VQModel

from benchmarks.contenders.torch_device import DEVICE, wait
from benchmarks.pretrained import CODES, FILTERS, GROUPS, SIDE, pixels


def build() -> Any:
    """Returns a model with random weights."""
    return VQModel(
        down_block_types=["DownEncoderBlock2D"] * len(FILTERS),
        up_block_types=["UpDecoderBlock2D"] * len(FILTERS),
        block_out_channels=FILTERS,
        latent_channels=4,
        norm_num_groups=GROUPS,
        num_vq_embeddings=CODES,
    ).eval()


def make(direction: str, batch: int) -> Callable[[], np.ndarray]:
    """Builds a function from images to codes, or from codes to images."""
    model = build().to(DEVICE)
    images = pixels(batch).transpose(0, 3, 1, 2)

    @torch.inference_mode()
    def encode() -> np.ndarray:
        latents = model.encode(2 * torch.from_numpy(images).to(DEVICE) - 1).latents
        codes = model.quantize(latents)[2][2].cpu().numpy()
        wait()
        return codes

    grid = (batch, SIDE // 2 ** (len(FILTERS) - 1), SIDE // 2 ** (len(FILTERS) - 1), 4)
    codes = encode()

    @torch.inference_mode()
    def decode() -> np.ndarray:
        vectors = model.quantize.get_codebook_entry(torch.from_numpy(codes).to(DEVICE), grid)
        decoded = model.decode(vectors, force_not_quantize=True).sample
        found = (decoded / 2 + 0.5).clamp(0, 1).cpu().numpy()
        wait()
        return found

    return encode if direction == "encode" else decode
