"""Writing of models as folders of diffusers."""

import json
import os
from pathlib import Path
from typing import Any

import safetensors.numpy

from keras_vq.export.staging import staged
from keras_vq.pretrained import _source, _tensors
from keras_vq.pretrained._errors import ConversionError
from keras_vq.pretrained._families import FAMILIES


def save_as_diffusers(model: Any, folder: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """Writes a model as a folder that diffusers loads with `from_pretrained`.

    A `VQVAE` becomes a `VQModel`, a `VAE` an `AutoencoderKL`, and an `Autoencoder` an
    `AutoencoderTiny`, with the same outputs. The model may come from `keras_vq.from_pretrained`, or
    be trained with `networks.latent_diffusion` or `networks.tiny_autoencoder`.

    Args:
        model: A built model with such networks.
        folder: String or path. Folder to write, with `config.json` and
            `diffusion_pytorch_model.safetensors`.
        overwrite: Boolean. Whether to replace an existing folder. Defaults to `False`.

    Returns:
        The folder.

    Raises:
        ConversionError: If diffusers has no class for the model.
        ValueError: If the folder exists and `overwrite` is false.

    Example:
        >>> import tempfile, keras_vq
        >>> pair = keras_vq.networks.latent_diffusion(filters=(8, 8), blocks=1, groups=4)
        >>> model = keras_vq.VQVAE(pair.encoder, keras_vq.VectorQuantizer(16), pair.decoder)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     written = keras_vq.pretrained.save_as_diffusers(model, f"{folder}/mine")
        ...     again = keras_vq.from_pretrained(written)
        >>> again.codebook_sizes
        (16,)
    """
    writers = {
        family.model_class: family.to_source for family in FAMILIES if family.to_source is not None
    }
    writer = writers.get(type(model))
    if writer is None:
        names = ", ".join(cls.__name__ for cls in writers if cls is not None)
        raise ConversionError(
            f"`model` must be one of the classes {names}. Received: {type(model).__name__}"
        )
    if not model.built:
        raise ConversionError(
            "`model` must be built. Fit it, or call it on a batch. Received: an unbuilt model"
        )
    folder = Path(folder)
    if folder.exists() and not overwrite:
        raise ValueError(
            "`folder` must be new. Pass `overwrite=True` to replace it. "
            f"Received: {str(folder)!r}, which exists"
        )
    config, name_map = writer(model)
    with staged(folder) as beside:
        beside.mkdir()
        text = json.dumps(config, indent=2, sort_keys=True) + "\n"
        (beside / _source.CONFIG_FILE).write_text(text, encoding="utf-8")
        safetensors.numpy.save_file(
            _tensors.extract(name_map),
            beside / _source.WEIGHT_FILES[0],
            # Required by diffusers and transformers.
            metadata={"format": "pt"},
        )
    return folder
