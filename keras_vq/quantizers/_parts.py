"""Helpers for combinators, whose list of quantizers may repeat a shared instance."""

from collections.abc import Sequence
from typing import Any

from keras_vq.quantizers.base import Quantizer


def checked_parts(quantizers: Any) -> list[Quantizer]:
    """Validates the quantizers of a combinator and returns them as a list.

    Raises:
        ValueError: If `quantizers` is not a non-empty list of quantizers, if one of them does not
            give each vector its own codes, if one that is updated before the lookup is repeated,
            or if their code shapes differ.
    """
    is_list = isinstance(quantizers, Sequence) and len(quantizers) > 0
    if not is_list or not all(isinstance(part, Quantizer) for part in quantizers):
        raise ValueError(
            "`quantizers` must be a non-empty list of quantizers, with repetitions allowed. "
            f"Received: {quantizers!r}"
        )
    if not all(part._has_codes_per_vector for part in quantizers):
        raise ValueError(
            "Each of `quantizers` must return codes per vector, unlike MultiScaleQuantizer. "
            f"Received: {quantizers!r}"
        )
    repeated = len(distinct(quantizers)) < len(quantizers)
    if repeated and any(part._updates_before_lookup for part in quantizers):
        raise ValueError(
            "`quantizers` must not repeat a quantizer with an SGDCodebook, because the codebook "
            "changes during the call. Use separate quantizers, or share another codebook. "
            f"Received: {quantizers!r}"
        )
    shapes = [part.code_shape for part in quantizers]
    if len(set(shapes)) > 1:
        raise ValueError(
            "All `quantizers` must have the same `code_shape`, the shape of the codes per vector. "
            f"Received: {shapes}"
        )
    return list(quantizers)


def distinct(parts: Sequence[Quantizer]) -> list[Quantizer]:
    """Returns the parts without repetitions, in order of first use."""
    return list({id(part): part for part in parts}.values())


def set_embeddings_of_parts(parts: Sequence[Quantizer], embeddings: Any) -> None:
    """Sets the code vectors of each distinct part.

    Args:
        parts: List of quantizers, which may contain repetitions.
        embeddings: List with one entry per distinct part, in order of first use.

    Raises:
        ValueError: If the number of entries is not the number of distinct parts, or an entry does
            not fit its part.
    """
    different = distinct(parts)
    if not hasattr(embeddings, "__len__") or len(embeddings) != len(different):
        received = f"{len(embeddings)}" if hasattr(embeddings, "__len__") else repr(embeddings)
        raise ValueError(
            f"`embeddings` must be a list of {len(different)} entries, one per distinct "
            f"quantizer. Received: {received}"
        )
    for part, own in zip(different, embeddings, strict=True):
        part.set_embeddings(own)
