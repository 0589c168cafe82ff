"""Presets as methods of models."""

import os
from pathlib import Path
from typing import Any, Self

from keras_vq._model import Model
from keras_vq.models.presets import BundledPresets, load_preset, save_preset


class HasPresets(Model):
    """Base class of models that are loaded from presets and saved to presets."""

    # Description, figures and versions of the bundled presets of the class, by name.
    presets = BundledPresets()

    @classmethod
    def from_preset(cls, preset: str | os.PathLike[str]) -> Self:
        """Loads a model that is bundled with the package or was saved by `save_to_preset`.

        The preset may have been saved on any backend. `ReconstructionModel.from_preset` loads
        presets of every class; a subclass loads only instances of itself.

        Args:
            preset: String or path. A name, `"vae_mnist"`, `"vqvae_cifar10"` or `"vqvae_mnist"`; or
                a folder (`"./vae_mnist"` if it has the name of a bundled preset). `cls.presets`
                lists the names.

        Returns:
            The model, not compiled: call `compile` before further training.

        Raises:
            ValueError: If the name or folder does not exist, a file is missing or differs from the
                one that was saved, or the model is of another class.

        Example:
            >>> import numpy as np, keras_vq
            >>> model = keras_vq.VQVAE.from_preset("vqvae_mnist")
            >>> model.encode(np.zeros((2, 28, 28, 1), "float32")).shape
            (2, 7, 7)
        """
        return load_preset(cls, preset)

    def save_to_preset(
        self,
        folder: str | os.PathLike[str],
        figures: dict[str, Any] | None = None,
        description: str | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Saves the model to a folder, from which `from_preset` loads it on any backend.

        The folder contains `model.keras`, without the optimizer, and `preset.json`, with the class,
        the versions, the hash of the model file and the arguments below. The folder is written
        atomically.

        Args:
            folder: String or path. A new or empty folder.
            figures: Dictionary of measured results, numbers or strings by name. Defaults to `None`.
            description: String. Description of the model. Defaults to `None`.
            overwrite: Boolean. Whether to replace an existing preset; other files in the folder are
                kept. Defaults to `False`.

        Returns:
            The folder.

        Raises:
            ValueError: If the model is not built, an argument is invalid, or the folder is in use.

        Example:
            >>> import tempfile, keras_vq
            >>> model = keras_vq.Autoencoder(*keras_vq.networks.dense((8, 8, 1), latent_dim=4))
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     saved = model.save_to_preset(f"{folder}/mine", figures={"test MSE": 0.05})
            ...     again = keras_vq.Autoencoder.from_preset(saved)
            >>> again.input_shape
            (None, 8, 8, 1)
        """
        return save_preset(self, folder, figures, description, overwrite)
