"""Names of the tensors of `networks.latent_diffusion` in other libraries."""

import re
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from keras import layers

from keras_vq.layers import ResNetBlock2D, SelfAttention2D
from keras_vq.pretrained._errors import ConversionError
from keras_vq.pretrained._family import Tensors
from keras_vq.pretrained._tensors import LINEAR, SAME, Layout, NameMap, Slot, layer_map

_NAME = re.compile(
    r"(?P<side>down|up|mid)_(?:(?P<level>\d+)_)?(?P<kind>[a-z]+)(?:_(?P<place>\d+))?"
)
# Not below `encoder` or `decoder` in the sources.
_OUTSIDE = ("quant_conv", "post_quant_conv")
_PROJECTIONS = ("query", "key", "value")


class Naming(NamedTuple):
    """Names of layers in a source.

    Args:
        layers: Dictionary of the name of a layer in the source, by side and kind of its name in
            Keras. Fields: `level` (0 is the finest), `mirrored` (0 is the coarsest), `place` in
            the level, `ordinal` (place + 1) and `double` (2 x place). Other layers keep their name.
        parts: Dictionary of the names of parts of blocks, by attribute in Keras. With an entry
            `qkv`, one tensor holds query, key and value.
        projection: Layout of the projections of the attention. Defaults to that of a linear layer.
    """

    layers: Mapping[str, str]
    parts: Mapping[str, str]
    projection: Layout = LINEAR

    def source_name(self, name: str, levels: int) -> str:
        """Returns the name of a layer in the source, below encoder or decoder."""
        found = _NAME.fullmatch(name)
        if found is None:
            return self.layers.get(name, name)
        level, place = int(found["level"] or 0), int(found["place"] or 0)
        return self.layers[f"{found['side']}_{found['kind']}"].format(
            level=level,
            mirrored=levels - 1 - level,
            place=place,
            ordinal=place + 1,
            double=2 * place,
        )

    def places(self, kind: str, end: str, names: Collection[str]) -> dict[tuple[int, int], str]:
        """Returns the tensor names of one kind of encoder layer, by (level, place)."""
        pattern = re.escape(f"encoder.{self.layers[kind]}.{end}")
        for field in ("level", "place"):
            pattern = pattern.replace(re.escape(f"{{{field}}}"), rf"(?P<{field}>\d{{1,3}})")
        found = ((re.fullmatch(pattern, name), name) for name in names)
        return {(int(match["level"]), int(match["place"])): name for match, name in found if match}


def network_map(naming: Naming, encoder: Any, decoder: Any) -> NameMap:
    """Returns the name map of an encoder and a decoder of `networks.latent_diffusion`."""
    levels = len(structure(encoder)["filters"])
    found: NameMap = {}
    for side, part in (("encoder", encoder), ("decoder", decoder)):
        for layer in filter(lambda layer: layer.weights, part.layers):
            prefix = naming.source_name(layer.name, levels)
            prefix = prefix if layer.name in _OUTSIDE else f"{side}.{prefix}"
            found |= _layer_map(naming, prefix, layer)
    return found


def _layer_map(naming: Naming, prefix: str, layer: Any) -> NameMap:
    if isinstance(layer, ResNetBlock2D):
        parts = ("norm1", "conv1", "norm2", "conv2", "shortcut")
    elif isinstance(layer, SelfAttention2D):
        joint = "qkv" in naming.parts
        parts = ("norm", *(() if joint else _PROJECTIONS), "output_projection")
    else:
        return layer_map(prefix, layer)
    found: NameMap = {}
    for name in parts:
        part = getattr(layer, name)
        if part is not None:
            is_dense = isinstance(part, layers.Dense)
            kernel = {"kernel": naming.projection} if is_dense else {}
            found |= layer_map(f"{prefix}.{naming.parts.get(name, name)}", part, **kernel)
    if isinstance(layer, SelfAttention2D) and joint:
        prefix = f"{prefix}.{naming.parts['qkv']}"
        dense = [getattr(layer, name) for name in _PROJECTIONS]
        kernels = tuple(each.kernel for each in dense)
        found[f"{prefix}.weight"] = Slot(kernels, naming.projection)
        found[f"{prefix}.bias"] = Slot(tuple(each.bias for each in dense))
    return found


def codebook_map(embeddings: Any) -> NameMap:
    """Returns the name map of a codebook."""
    return {"quantize.embedding.weight": Slot((embeddings,), SAME)}


def structure(encoder: Any) -> dict[str, Any]:
    """Returns the arguments of `networks.latent_diffusion` that an encoder was built with.

    Raises:
        ConversionError: If the encoder is another network.
    """
    parts = {layer.name: layer for layer in getattr(encoder, "layers", ())}
    named = {name: _NAME.fullmatch(name) for name in parts}
    blocks = {
        (int(match["level"]), int(match["place"])): parts[name]
        for name, match in named.items()
        if match and match["side"] == "down" and match["kind"] == "block"
    }
    if not blocks or "conv_out" not in parts:
        raise ConversionError(
            "The encoder must be one of keras_vq.networks.latent_diffusion. "
            f"Received: layers {', '.join(list(parts)[:5])}"
        )
    first = blocks[0, 0]
    attended = (match for match in named.values() if match and match["kind"] == "attention")
    levels = sorted({level for level, _ in blocks})
    return {
        "filters": [blocks[level, 0].filters for level in levels],
        "blocks": sum(level == 0 for level, _ in blocks),
        "attention_levels": sorted(
            {int(match["level"]) for match in attended if match["side"] == "down"}
        ),
        "mid_attention": "mid_attention_0" in parts,
        "groups": first.groups,
        "z_channels": parts["conv_out"].filters,
        "quant_kernel_size": parts["quant_conv"].kernel_size[0] if "quant_conv" in parts else None,
    }


def inferred(naming: Naming, tensors: Tensors) -> dict[str, Any]:
    """Returns the arguments of `networks.latent_diffusion` from names and shapes of tensors.

    Raises:
        ConversionError: If tensors are missing.
    """
    blocks = naming.places("down_block", "conv1.weight", tensors)
    norm = f"{naming.parts['norm']}.weight"
    attended = naming.places("down_attention", norm, tensors)
    levels = range(len({level for level, _ in blocks}))
    middle = f"encoder.{naming.layers['mid_attention'].format(place=0, ordinal=1)}.{norm}"
    kernel = "quant_conv.weight"
    first = [blocks.get((level, 0), f"first block of resolution {level}") for level in levels]
    return {
        "filters": [size(tensors, name) for name in first],
        "blocks": sum(level == 0 for level, _ in blocks),
        "attention_levels": sorted({level for level, _ in attended}),
        "mid_attention": middle in tensors,
        "z_channels": size(tensors, "encoder.conv_out.weight"),
        "quant_kernel_size": size(tensors, kernel, -1) if kernel in tensors else None,
    }


def size(tensors: Tensors, name: str, axis: int = 0) -> int:
    """Returns the size of an axis of a kernel of two or four axes.

    Raises:
        ConversionError: If the tensor is missing or has another number of axes.
    """
    shape = tensors[name].shape if name in tensors else None
    if shape is None or len(shape) not in (2, 4):
        raise ConversionError(
            f"The source must have the tensor {name}, the weights of a layer. "
            f"Received: {'none' if shape is None else f'shape {shape}'}"
        )
    return shape[axis]


DIFFUSERS = Naming(
    {
        "down_block": "down_blocks.{level}.resnets.{place}",
        "down_attention": "down_blocks.{level}.attentions.{place}",
        "down_downsample": "down_blocks.{level}.downsamplers.0.conv",
        "mid_block": "mid_block.resnets.{place}",
        "mid_attention": "mid_block.attentions.{place}",
        "up_block": "up_blocks.{mirrored}.resnets.{place}",
        "up_attention": "up_blocks.{mirrored}.attentions.{place}",
        "up_upsample": "up_blocks.{mirrored}.upsamplers.0.conv",
        "norm_out": "conv_norm_out",
    },
    {
        "shortcut": "conv_shortcut",
        "norm": "group_norm",
        "query": "to_q",
        "key": "to_k",
        "value": "to_v",
        "output_projection": "to_out.0",
    },
)
