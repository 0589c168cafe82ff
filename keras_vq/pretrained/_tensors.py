"""Name maps: which tensor of a source is stored in which weight of a model, in which layout."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_vq.pretrained._errors import ConversionError


class Layout(NamedTuple):
    """Conversion of an array from the layout of the source to that of Keras, and back."""

    to_keras: Callable[[np.ndarray], np.ndarray]
    to_source: Callable[[np.ndarray], np.ndarray]


def _axes(*to_keras: int) -> Layout:
    to_source = tuple(int(place) for place in np.argsort(to_keras))
    return Layout(lambda array: array.transpose(to_keras), lambda array: array.transpose(to_source))


SAME = Layout(lambda array: array, lambda array: array)
LINEAR = _axes(1, 0)  # (out, in) -> (in, out)
CONV_1D = _axes(2, 1, 0)  # (out, in, width) -> (width, in, out)
CONV_1D_TRANSPOSE = _axes(2, 1, 0)  # (in, out, width) -> (width, out, in)
CONV_2D = _axes(2, 3, 1, 0)  # (out, in, height, width) -> (height, width, in, out)
# A 1x1 convolution of the source that is a dense layer in Keras.
POINTWISE = Layout(lambda array: array[:, :, 0, 0].T, lambda array: array.T[:, :, None, None])


class Slot(NamedTuple):
    """Keras weights that one tensor of the source fills.

    Several weights are consecutive parts of the first axis of the tensor.
    """

    weights: tuple[Any, ...]
    layout: Layout = SAME

    @property
    def source_shape(self) -> tuple[int, ...]:
        """Shape of the tensor in the source."""
        shapes = [self.layout.to_source(_of_shape(weight.shape)).shape for weight in self.weights]
        first, *rest = shapes
        return (sum(shape[0] for shape in shapes), *first[1:]) if rest else first

    def assign(self, tensor: np.ndarray) -> None:
        """Assigns a tensor of the source to the weights."""
        start = 0
        for weight in self.weights:
            rows = self.layout.to_source(_of_shape(weight.shape)).shape[:1]
            part = tensor[start : start + rows[0]] if rows else tensor
            weight.assign(np.ascontiguousarray(self.layout.to_keras(part), "float32"))
            start += rows[0] if rows else 0

    def extract(self) -> np.ndarray:
        """Returns the tensor of the source that the weights hold."""
        parts = [
            self.layout.to_source(ops.convert_to_numpy(weight).astype("float32"))
            for weight in self.weights
        ]
        return np.ascontiguousarray(parts[0] if len(parts) == 1 else np.concatenate(parts))


NameMap = dict[str, Slot]


def _of_shape(shape: Any) -> np.ndarray:
    return np.broadcast_to(np.float32(0), tuple(shape))  # allocates one value


def assign(name_map: NameMap, tensors: Mapping[str, np.ndarray], ignored: Sequence[str]) -> None:
    """Assigns all tensors of a source to the weights of a model, or none of them.

    Args:
        name_map: Dictionary of `Slot` objects by tensor name.
        tensors: Dictionary of arrays by tensor name.
        ignored: Regular expressions of names of tensors that the model does not need.

    Raises:
        ConversionError: If tensors are missing, surplus, misshapen or not finite; lists their
            names.
    """
    surplus = [
        name
        for name in sorted(set(tensors) - set(name_map))
        if not any(re.fullmatch(pattern, name) for pattern in ignored)
    ]
    both = [name for name in name_map if name in tensors]
    problems = {
        "missing": sorted(set(name_map) - set(tensors)),
        "surplus": surplus,
        "misshapen": [
            f"{name} {tensors[name].shape} instead of {name_map[name].source_shape}"
            for name in both
            if tensors[name].shape != name_map[name].source_shape
        ],
        "not finite": [name for name in both if not np.isfinite(tensors[name]).all()],
    }
    listed = [f"{kind}: {', '.join(names)}" for kind, names in problems.items() if names]
    if listed:
        raise ConversionError(
            "The tensors of the source must be those of its configuration. Check that "
            f"configuration and weights belong together. Received: {'; '.join(listed)}"
        )
    for name, slot in name_map.items():
        slot.assign(tensors[name])


def extract(name_map: NameMap) -> dict[str, np.ndarray]:
    """Returns the tensors of the source, in its layout, from the weights of a model."""
    return {name: slot.extract() for name, slot in name_map.items()}


def layer_map(prefix: str, layer: Any, kernel: Layout = CONV_2D) -> NameMap:
    """Returns the name map of one layer with a kernel or a scale, and perhaps a bias.

    Args:
        prefix: String. Name of the layer in the source; `.weight` and `.bias` are appended.
        layer: Convolution, dense or normalization layer.
        kernel: Layout of the kernel. Defaults to that of a 2D convolution.
    """
    is_norm = hasattr(layer, "gamma")
    found = {"weight": layer.gamma, "bias": layer.beta} if is_norm else {"weight": layer.kernel}
    if not is_norm and layer.use_bias:
        found["bias"] = layer.bias
    return {
        f"{prefix}.{name}": Slot((weight,), kernel if weight.ndim > 1 else SAME)
        for name, weight in found.items()
        if weight is not None
    }
