"""What combinators share: a list of quantizers in which one may stand several times."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_vq.quantizers.base import Quantizer


def checked_parts(quantizers: Any) -> list[Quantizer]:
    """The quantizers as a list.

    Raises:
        ValueError: If it is no list of quantizers, or empty.
    """
    is_list = isinstance(quantizers, Sequence) and len(quantizers) > 0
    if not is_list or not all(isinstance(part, Quantizer) for part in quantizers):
        raise ValueError(
            "`quantizers` must be a list of at least one Quantizer; the same one may stand in it "
            f"several times. Received: {quantizers!r}"
        )
    if not all(part.indexes_each_vector for part in quantizers):
        raise ValueError(
            "`quantizers` must give each vector indices of its own, which MultiScale does not. "
            f"Received: {quantizers!r}"
        )
    repeated = len(distinct(quantizers)) < len(quantizers)
    if repeated and any(part.learns_before_lookup for part in quantizers):
        raise ValueError(
            "A quantizer with a StepCodebook can't stand in `quantizers` several times: it would "
            "change from one use to the next. Give each place its own, or share another codebook. "
            f"Received: {quantizers!r}"
        )
    shapes = [part.index_shape for part in quantizers]
    if len(set(shapes)) > 1:
        raise ValueError(
            "All `quantizers` must have as many indices a vector as one another. "
            f"Received: index shapes {shapes}"
        )
    return list(quantizers)


def distinct(parts: Sequence[Quantizer]) -> list[Quantizer]:
    """The parts without repetitions, in their order."""
    return list({id(part): part for part in parts}.values())


def set_embeddings_of_parts(parts: Sequence[Quantizer], embeddings: Any) -> None:
    """Sets the code vectors of each part, a shared one once.

    Args:
        parts: Quantizers, some of which may be the same.
        embeddings: List with one entry for each different part, in their order.

    Raises:
        ValueError: If there are more or fewer entries than parts, or an entry does not fit.
    """
    different = distinct(parts)
    if not hasattr(embeddings, "__len__") or len(embeddings) != len(different):
        received = f"{len(embeddings)}" if hasattr(embeddings, "__len__") else repr(embeddings)
        raise ValueError(
            f"`embeddings` must be a list of {len(different)} entries, one for each different "
            f"quantizer; a shared one has one entry. Received: {received}"
        )
    for part, own in zip(different, embeddings, strict=True):
        part.set_embeddings(own)


def serialized(parts: Sequence[Quantizer]) -> dict[str, Any]:
    """Configuration from which `deserialized` gives parts, shared where they were shared."""
    different = distinct(parts)
    places = {id(part): place for place, part in enumerate(different)}
    return {
        "distinct": [keras.saving.serialize_keras_object(part) for part in different],
        "order": [places[id(part)] for part in parts],
    }


def deserialized(config: dict[str, Any]) -> list[Quantizer]:
    """The parts of a configuration."""
    different = [keras.saving.deserialize_keras_object(part) for part in config["distinct"]]
    return [different[place] for place in config["order"]]
