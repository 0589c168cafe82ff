"""Converter of `EncodecModel` of transformers (EnCodec at 24 and 48 kHz)."""

import math
import re
from typing import Any

import numpy as np
from keras import layers

from keras_vq._types import Shape
from keras_vq.codebooks import EMACodebook
from keras_vq.models import VQVAE
from keras_vq.networks import encodec
from keras_vq.pretrained._family import (
    Config,
    Family,
    Tensors,
    check_fixed,
    config_shape,
    filled,
    has_entry,
)
from keras_vq.pretrained._sound import (
    OPTIONS,
    check_stages,
    sound_model,
    stages_of,
    without_weight_norm,
)
from keras_vq.pretrained._tensors import CONV_1D, LINEAR, NameMap, Slot, layer_map
from keras_vq.quantizers import VectorQuantizer

_NAME = "EncodecModel"
_DEFAULTS: Config = {
    "target_bandwidths": (1.5, 3.0, 6.0, 12.0, 24.0),
    "sampling_rate": 24_000,
    "audio_channels": 1,
    "normalize": False,
    "chunk_length_s": None,
    "overlap": None,
    "hidden_size": 128,
    "num_filters": 32,
    "num_residual_layers": 1,
    "upsampling_ratios": (8, 5, 4, 2),
    "norm_type": "weight_norm",
    "kernel_size": 7,
    "last_kernel_size": 7,
    "residual_kernel_size": 3,
    "dilation_growth_rate": 2,
    "use_causal_conv": True,
    "pad_mode": "reflect",
    "compress": 2,
    "num_lstm_layers": 2,
    "codebook_size": 1024,
    "use_conv_shortcut": True,
}
_FIXED = {
    "norm_type": ("weight_norm", "time_group_norm"),
    "pad_mode": ("reflect", "constant"),
    "trim_right_ratio": 1.0,
}
_STAGES = "quantizer.layers"
_EMBEDDINGS = re.compile(r"(quantizer\.layers\.\d+\.codebook)\.embed")
_LSTM_BIAS = re.compile(r"(.*\.lstm\.bias)_ih(_l\d+)")


def _build(
    config: Config,
    tensors: Tensors,
    input_shape: Shape | None,
    provenance: dict[str, Any],
    **options: Any,
) -> VQVAE:
    given = filled(config, _DEFAULTS, _NAME)
    own_dim = {"codebook_dim": (None, given["hidden_size"])}
    check_fixed(config, {**_FIXED, **own_dim}, _NAME)
    pair = encodec(
        config_shape(input_shape, given["audio_channels"], ("samples",)),
        filters=given["num_filters"],
        latent_dim=given["hidden_size"],
        strides=given["upsampling_ratios"][::-1],
        blocks=given["num_residual_layers"],
        kernel_size=given["kernel_size"],
        last_kernel_size=given["last_kernel_size"],
        block_kernel_size=given["residual_kernel_size"],
        dilation_growth=given["dilation_growth_rate"],
        compression=given["compress"],
        lstm_layers=given["num_lstm_layers"],
        causal=given["use_causal_conv"],
        padding_mode=given["pad_mode"],
        group_normalization=given["norm_type"] == "time_group_norm",
        block_convolution=given["use_conv_shortcut"],
        loudness_normalization=given["normalize"],
    )
    size, rate = given["codebook_size"], given["sampling_rate"]
    frame_rate = math.ceil(rate / math.prod(given["upsampling_ratios"]))
    bits = max(1, math.ceil(math.log2(size)))
    available = int(1000 * given["target_bandwidths"][-1] // (frame_rate * bits))
    check_stages(tensors, _STAGES, available, size)
    count = stages_of(available, size, frame_rate, **options)
    recorded = {**provenance, "sample_rate": rate, "loudness_normalization": given["normalize"]}
    if given["chunk_length_s"] is not None:
        recorded["chunk_samples"] = int(given["chunk_length_s"] * rate)
        recorded["chunk_overlap"] = given["overlap"]
    return sound_model(
        pair, [VectorQuantizer(codebook=EMACodebook(size)) for _ in range(count)], recorded
    )


def _prepared(tensors: Tensors) -> dict[str, np.ndarray]:
    """Returns tensors with folded kernels, one bias per LSTM, and averages of each codebook."""
    found = without_weight_norm(tensors)
    for name in list(found):
        bias = _LSTM_BIAS.fullmatch(name)
        if bias and f"{bias[1]}_hh{bias[2]}" in found:
            found[f"{bias[1]}{bias[2]}"] = found.pop(name) + found.pop(f"{bias[1]}_hh{bias[2]}")
        codebook = _EMBEDDINGS.fullmatch(name)
        if codebook and not np.any(found.get(f"{codebook[1]}.cluster_size", 0)):
            # A file without averages: training starts from uniform usage.
            found[f"{codebook[1]}.cluster_size"] = np.ones(len(found[name]), "float32")
            found[f"{codebook[1]}.embed_avg"] = found[name]
    return found


def _network_map(side: str, network: Any) -> NameMap:
    found: NameMap = {}
    for layer in network.layers:
        prefix = f"{side}.{layer.name.replace('_', '.')}"
        if isinstance(layer, layers.LSTM):
            stem, _, level = prefix.rpartition(".")
            cell = layer.cell
            found[f"{stem}.weight_ih_l{level}"] = Slot((cell.kernel,), LINEAR)
            found[f"{stem}.weight_hh_l{level}"] = Slot((cell.recurrent_kernel,), LINEAR)
            found[f"{stem}.bias_l{level}"] = Slot((cell.bias,))
        elif layer.weights:
            found |= layer_map(prefix, layer, CONV_1D)
    return found


def _name_map(model: VQVAE) -> NameMap:
    found = _network_map("encoder", model.encoder) | _network_map("decoder", model.decoder)
    for place, stage in enumerate(model.quantizer.quantizers):
        prefix, codebook = f"{_STAGES}.{place}.codebook", stage.codebook
        found[f"{prefix}.embed"] = Slot((codebook.embeddings,))
        found[f"{prefix}.embed_avg"] = Slot((codebook.ema_sums,))
        found[f"{prefix}.cluster_size"] = Slot((codebook.ema_counts,))
    return found


FAMILY = Family(
    _NAME,
    has_entry("model_type", "encodec"),
    _build,
    _name_map,
    _prepared,
    # The later stages, if fewer are used.
    ignored=(r"quantizer\.layers\.\d+\.codebook\.(embed|embed_avg|cluster_size|inited)",),
    options=OPTIONS,
)
