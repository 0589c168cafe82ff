"""Description of models."""

import math
from typing import Any

from keras_vq._types import Shape


def describe(model: Any, input_shape: Shape | None = None) -> dict[str, Any]:
    """Describes a model: class, sizes, codes and bits per input, preprocessing and origin.

    Args:
        model: A built model of this package.
        input_shape: Tuple. Shape of one input, such as `(256, 256, 3)`, for the numbers per input
            of a model that takes inputs of any size. Defaults to `None`, for that of the model.

    Returns:
        Dictionary of values that can be written as JSON: `class`, `input_shape` (axes of any size
        are `None`), `parameters`, `trainable_parts`, and `provenance` of a converted model. Models
        with codes also have `code_shape`, `codebook_sizes`, `codes_per_input` and `bits_per_input`,
        other models `latent_shape`. A `VQVAE2` has one entry per scale in `code_shape` and
        `codebook_sizes`. Numbers per input are `None` if inputs may have any size.

    Raises:
        ValueError: If the model is not built, or does not take inputs of `input_shape`.

    Example:
        >>> import keras_vq
        >>> pair = keras_vq.networks.convolutional((28, 28, 1))
        >>> model = keras_vq.VQVAE(pair.encoder, keras_vq.VectorQuantizer(512), pair.decoder)
        >>> about = keras_vq.models.describe(model)
        >>> about["class"], about["code_shape"], about["bits_per_input"]
        ('VQVAE', [7, 7], 441.0)
    """
    if not model.built:
        raise ValueError(
            "`model` must be built. Fit it, or call it on a batch. Received: an unbuilt model"
        )
    if input_shape is not None and not _fits(input_shape, model.input_shape[1:]):
        raise ValueError(
            f"`input_shape` must be the shape of an input of the model, {model.input_shape[1:]}. "
            f"Received: {input_shape!r}"
        )
    about = {
        "class": type(model).__name__,
        "input_shape": None if model.input_shape is None else list(model.input_shape[1:]),
        "parameters": model.count_params(),
        "trainable_parts": model.trainable_parts,
        "provenance": model.provenance,
    }
    shapes = getattr(model, "code_shape", None)
    if shapes is None:
        return {**about, "latent_shape": list(model._latents_taken())}
    if input_shape is not None and hasattr(model, "quantizer"):
        latents = model.encoder.compute_output_shape((1, *input_shape))
        shapes = model.quantizer._compute_codes_shape(latents)[1:]
    sizes = model.codebook_sizes
    is_hierarchical = hasattr(shapes, "_asdict")
    scales = list(zip(shapes, sizes, strict=True)) if is_hierarchical else [(shapes, sizes)]
    is_fixed = all(None not in shape for shape, _ in scales)
    counts = [math.prod(shape) if is_fixed else 0 for shape, _ in scales]
    # The codes of a vector have one codebook size each.
    bits = [sum(map(math.log2, per_vector)) / len(per_vector) for _, per_vector in scales]
    listed = [([*shape], [*per_vector]) for shape, per_vector in scales]
    return {
        **about,
        "code_shape": [shape for shape, _ in listed] if is_hierarchical else listed[0][0],
        "codebook_sizes": [each for _, each in listed] if is_hierarchical else listed[0][1],
        "codes_per_input": sum(counts) if is_fixed else None,
        "bits_per_input": sum(map(math.prod, zip(counts, bits, strict=True))) if is_fixed else None,
    }


def _fits(shape: Shape, expected: Shape) -> bool:
    """Returns whether a shape has the expected sizes, of which `None` is any size."""
    return len(shape) == len(expected) and all(
        want in (None, have) for have, want in zip(shape, expected, strict=True)
    )
