"""Value ranges of decoder outputs and of the targets that they are compared with."""

from typing import Any, NamedTuple

import keras

from keras_vq.layers.straight_through_clip import StraightThroughClip

# Tolerance as a fraction of the width: Lanczos resampling overshoots a range by 9 %.
_OVERSHOOT = 0.1


class Range(NamedTuple):
    """Interval of values; an infinite bound means unbounded."""

    low: float = -float("inf")
    high: float = float("inf")

    def has(self, least: float, greatest: float) -> bool:
        """Returns whether `[least, greatest]` lies in the range, up to a small overshoot."""
        width = self.high - self.low
        if width == float("inf"):
            width = max(abs(least), abs(greatest))
        return least >= self.low - _OVERSHOOT * width and greatest <= self.high + _OVERSHOOT * width

    def __str__(self) -> str:
        left = "(-inf" if self.low == -float("inf") else f"[{self.low:g}"
        right = "inf)" if self.high == float("inf") else f"{self.high:g}]"
        return f"{left}, {right}"


PROBABILITIES = Range(0.0, 1.0)

_ACTIVATIONS = {
    keras.activations.sigmoid: PROBABILITIES,
    keras.activations.hard_sigmoid: PROBABILITIES,
    keras.activations.sparse_sigmoid: PROBABILITIES,
    keras.activations.softmax: PROBABILITIES,
    keras.activations.sparsemax: PROBABILITIES,
    keras.activations.tanh: Range(-1.0, 1.0),
    keras.activations.hard_tanh: Range(-1.0, 1.0),
    keras.activations.softsign: Range(-1.0, 1.0),
    keras.activations.relu: Range(low=0.0),
    keras.activations.relu6: Range(0.0, 6.0),
    keras.activations.softplus: Range(low=0.0),
    keras.activations.exponential: Range(low=0.0),
    keras.activations.elu: Range(low=-1.0),
}
# Layers that do not change values: the previous layer determines the range.
_SHAPE_LAYERS = (
    keras.layers.Reshape,
    keras.layers.Flatten,
    keras.layers.Permute,
    keras.layers.RepeatVector,
    keras.layers.Cropping1D,
    keras.layers.Cropping2D,
    keras.layers.Cropping3D,
    keras.layers.UpSampling1D,
    keras.layers.UpSampling3D,
)


def output_range(part: Any) -> Range:
    """Returns the range of the outputs of a layer or model, unbounded if it is unknown."""
    return _range_after([part])


def _range_after(layers: list[Any]) -> Range:
    """Returns the range of the outputs of a list of layers, applied in sequence."""
    if not layers:
        return Range()
    *before, last = layers
    if isinstance(last, keras.Sequential):
        return _range_after([*before, *last.layers])
    if type(last).__name__ == "Functional":
        return _range_after([_producer(last)])
    if isinstance(last, keras.layers.TimeDistributed):
        return _range_after([*before, last.layer])
    if isinstance(last, keras.layers.Rescaling):
        return _rescaled(last, _range_after(before))
    if isinstance(last, _SHAPE_LAYERS) or _is_linear_activation(last):
        return _range_after(before)
    return _own_range(last)


def _producer(model: Any) -> Any:
    """Returns the layer that produces the only output of a functional model, or `None`."""
    outputs = model.outputs
    return outputs[0]._keras_history.operation if len(outputs) == 1 else None


def _is_linear_activation(layer: Any) -> bool:
    return isinstance(layer, keras.layers.Activation) and (
        layer.activation is keras.activations.linear
    )


def _rescaled(layer: Any, before: Range) -> Range:
    try:
        scale, offset = float(layer.scale), float(layer.offset)
    except (TypeError, ValueError):  # one value per channel
        return Range()
    ends = [end * scale + offset for end in before] if scale else [offset, offset]
    return Range(min(ends), max(ends))


def _own_range(layer: Any) -> Range:
    if isinstance(layer, StraightThroughClip):
        return Range(layer.low, layer.high)
    if isinstance(layer, keras.layers.Softmax):
        return PROBABILITIES
    if isinstance(layer, keras.layers.ReLU):
        low = -float("inf") if layer.negative_slope else 0.0
        return Range(low, float("inf") if layer.max_value is None else float(layer.max_value))
    # Recurrent and user-defined layers may change values after their activation.
    is_keras = type(layer).__module__.split(".")[0] in ("keras", "keras_vq")
    if not is_keras or isinstance(layer, keras.layers.RNN | keras.layers.Bidirectional):
        return Range()
    activation = getattr(layer, "activation", None)
    return _ACTIVATIONS.get(activation, Range()) if callable(activation) else Range()
