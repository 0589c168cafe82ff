"""Error of weights or configurations that can't be converted."""


class ConversionError(ValueError):
    """Error for a source that can't be read or converted, such as tensors that do not fit."""
