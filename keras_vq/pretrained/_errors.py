"""Error of weights or configurations that can't be converted."""


class ConversionError(ValueError):
    """Error for a source that can't be read or converted, such as tensors that do not fit.

    Example:
        >>> import keras_vq
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     try:
        ...         keras_vq.from_pretrained(folder)
        ...     except keras_vq.pretrained.ConversionError:
        ...         print("no weights")
        no weights
    """
