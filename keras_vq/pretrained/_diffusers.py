"""Parts that the converters of diffusers' `VQModel` and `AutoencoderKL` share."""

import re
from typing import Any

import numpy as np

from keras_vq.pretrained._errors import ConversionError
from keras_vq.pretrained._family import Config, check_fixed

# Names of the attention before diffusers 0.18.
_OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_OLD = re.compile(rf"(.*\.attentions\.\d+)\.({'|'.join(_OLD_NAMES)})\.(weight|bias)")

DEFAULTS: Config = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ("DownEncoderBlock2D",),
    "up_block_types": ("UpDecoderBlock2D",),
    "block_out_channels": (64,),
    "layers_per_block": 1,
    "norm_num_groups": 32,
    "scaling_factor": 0.18215,
    "mid_block_add_attention": True,
}
_FIXED = {"act_fn": ("silu", "swish"), "norm_type": "group"}
_DOWN = ("DownEncoderBlock2D", "AttnDownEncoderBlock2D")
_UP = ("UpDecoderBlock2D", "AttnUpDecoderBlock2D")


def renamed(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns tensors with the names of current versions of diffusers."""
    return {_new_name(name): tensor for name, tensor in tensors.items()}


def _new_name(name: str) -> str:
    found = _OLD.fullmatch(name)
    return f"{found[1]}.{_OLD_NAMES[found[2]]}.{found[3]}" if found else name


def network_arguments(given: Config, family: str) -> dict[str, Any]:
    """Returns the arguments of `networks.latent_diffusion` of a configuration with defaults.

    Raises:
        ConversionError: If the network can't represent the configuration.
    """
    check_fixed(given, _FIXED, family)
    down, up = list(given["down_block_types"]), list(given["up_block_types"])
    unknown = sorted({*down} - {*_DOWN} | {*up} - {*_UP})
    if unknown:
        raise ConversionError(
            f"A {family} must have blocks of the types {', '.join(_DOWN + _UP)}. "
            f"Received: {', '.join(unknown)}"
        )
    attended = [place for place, kind in enumerate(down) if kind == _DOWN[1]]
    mirrored = [place for place, kind in enumerate(reversed(up)) if kind == _UP[1]]
    filters = list(given["block_out_channels"])
    if attended != mirrored or not len(filters) == len(down) == len(up):
        raise ConversionError(
            f"A {family} must have `up_block_types` that mirror `down_block_types`, and one entry "
            f"of `block_out_channels` for each. Received: {down}, {up} and {filters}"
        )
    if given["in_channels"] != given["out_channels"]:
        raise ConversionError(
            f"A {family} must have as many output channels as input channels. Received: "
            f"in_channels={given['in_channels']}, out_channels={given['out_channels']}"
        )
    return {
        "filters": filters,
        "blocks": given["layers_per_block"],
        "attention_levels": attended,
        "mid_attention": given["mid_block_add_attention"],
        "groups": given["norm_num_groups"],
    }


def config_of(arguments: dict[str, Any], channels: int) -> Config:
    """Returns the entries of a configuration from arguments of `networks.latent_diffusion`."""
    count = len(arguments["filters"])
    attended = [level in arguments["attention_levels"] for level in range(count)]
    return {
        "in_channels": channels,
        "out_channels": channels,
        "down_block_types": [_DOWN[is_attended] for is_attended in attended],
        "up_block_types": [_UP[is_attended] for is_attended in reversed(attended)],
        "block_out_channels": list(arguments["filters"]),
        "layers_per_block": arguments["blocks"],
        "norm_num_groups": arguments["groups"],
        "mid_block_add_attention": arguments["mid_attention"],
        "act_fn": "silu",
    }
