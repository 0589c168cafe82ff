"""Parts that the converters of codecs of sound share."""

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_vq.models import VQVAE
from keras_vq.networks import EncoderDecoder
from keras_vq.pretrained._errors import ConversionError
from keras_vq.pretrained._family import MAX_BLOCKS, Tensors
from keras_vq.quantizers import Quantizer, ResidualQuantizer

OPTIONS = ("stages", "bandwidth")

# Magnitude and direction of a kernel, in the current form of PyTorch and the one before.
_WEIGHT_NORM = re.compile(r"(.*)\.(?:parametrizations\.weight\.original0|weight_g)")


def without_weight_norm(tensors: Tensors) -> dict[str, np.ndarray]:
    """Returns tensors with kernels g v / |v| instead of their magnitudes g and directions v."""
    found = dict(tensors)
    for name in tensors:
        match = _WEIGHT_NORM.fullmatch(name)
        if match is None:
            continue
        is_current = name.endswith("0")
        other = name.removesuffix("0") + "1" if is_current else f"{match[1]}.weight_v"
        if other not in found:
            raise ConversionError(
                "The source must have both tensors of each weight normalization. "
                f"Received: {name} without {other}"
            )
        magnitude, direction = found.pop(name), found.pop(other)
        axes = tuple(range(1, direction.ndim))
        norm = np.sqrt(np.square(direction).sum(axes, keepdims=True))
        found[f"{match[1]}.weight"] = magnitude * direction / norm
    return found


def check_stages(tensors: Tensors, prefix: str, count: int, codebook_size: int) -> None:
    """Checks the stages of a configuration, and that a source has no more of them.

    Args:
        tensors: Dictionary of arrays by tensor name.
        prefix: String. Start of the names of stages, up to their index.
        count: Integer. Number of stages of the configuration.
        codebook_size: Integer. Codebook size of each stage.

    Raises:
        ConversionError: If the codebook size is no power of 2, or a number of stages is wrong.
    """
    if codebook_size < 2 or codebook_size & (codebook_size - 1) or not 1 <= count <= MAX_BLOCKS:
        raise ConversionError(
            f"The configuration must have 1 to {MAX_BLOCKS} stages and a `codebook_size` that is a "
            f"power of 2. Received: {count} stages and codebook_size={codebook_size}"
        )
    found = ((re.match(rf"{re.escape(prefix)}\.(\d+)\.", name), name) for name in tensors)
    surplus = sorted(name for match, name in found if match and int(match[1]) >= count)
    if surplus:
        raise ConversionError(
            f"The source must have the {count} residual stages of its configuration. Check that "
            f"configuration and weights belong together. Received: surplus: {', '.join(surplus)}"
        )


def stages_of(
    available: int,
    codebook_size: int,
    frame_rate: float,
    stages: int | None = None,
    bandwidth: float | None = None,
) -> int:
    """Returns the number of stages of a residual quantizer.

    Args:
        available: Integer. Stages of the source.
        codebook_size: Integer. Codebook size of each stage.
        frame_rate: Float. Frames per second.
        stages: Integer or `None`. Number of stages. Defaults to `None`, for all of them.
        bandwidth: Float or `None`. Kilobits per second, of which the stages use at most as many.
            Defaults to `None`.

    Raises:
        ConversionError: If both arguments are given, or the source has too few stages.
    """
    if bandwidth is not None:
        if stages is not None:
            raise ConversionError(
                "`stages` and `bandwidth` must not be given together. Received: "
                f"stages={stages}, bandwidth={bandwidth}"
            )
        each = math.log2(codebook_size) * frame_rate / 1000
        stages = math.floor(bandwidth / each)
        if not 1 <= stages <= available:
            raise ConversionError(
                f"`bandwidth` must be from {each:g} to {available * each:g} kilobits per second, "
                f"those of 1 to {available} stages. Received: {bandwidth}"
            )
    stages = available if stages is None else stages
    if stages > available:
        raise ConversionError(
            f"`stages` must be at most {available}, the stages of the source. Received: {stages}"
        )
    return stages


def sound_model(
    pair: EncoderDecoder, stages: Sequence[Quantizer], provenance: dict[str, Any]
) -> VQVAE:
    """Returns a model with a residual quantizer, and records the value range."""
    provenance = {**provenance, "stages": len(stages), "value_range": [-1.0, 1.0]}
    return VQVAE(pair.encoder, ResidualQuantizer(stages), pair.decoder, provenance=provenance)
