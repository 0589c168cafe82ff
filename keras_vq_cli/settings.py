"""Settings of a training run, their defaults and their JSON form."""

from __future__ import annotations

import dataclasses
from typing import Any

MODELS = ("vqvae", "vae", "autoencoder")
NETWORKS = ("convolutional", "residual_convolutional", "dense")

# Settings specific to one type of model, with their defaults.
ONLY_FOR: dict[str, dict[str, Any]] = {
    "vqvae": {
        "codebook_size": 256,
        "codebook": "ema",
        "commitment": 0.25,
        "estimator": "straight_through",
        "start": "kmeans",
    },
    "vae": {"beta": 1.0, "kl_warmup_steps": 0},
}
SMALL_SET = 10_000
EPOCHS_OF_SMALL_SET = 30
EPOCHS = 10

# Filters of the strided layers, by the number of layers; typical values of published models.
_FILTERS = {
    "convolutional": {1: (64,), 2: (32, 64), 3: (32, 64, 128), 4: (32, 64, 128, 128)},
    "residual_convolutional": {1: (128,), 2: (64, 128), 3: (64, 128, 128), 4: (64, 128, 128, 128)},
}
_UNITS = (512, 256)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings that determine a training run; `None` for those that do not apply to the model."""

    model: str = "vqvae"
    dataset: str = "digits"
    data_dir: str | None = None
    image_size: tuple[int, int] | None = None
    skip_broken: bool = False
    max_pixels: int | None = None  # the default of keras_vq
    limit: int | None = None
    epochs: int | None = None
    batch_size: int = 64
    learning_rate: float = 1e-3
    network: str | None = None
    filters: tuple[int, ...] | None = None
    latent_dim: int = 16
    codebook_size: int | None = None
    codebook: str | None = None
    commitment: float | None = None
    estimator: str | None = None
    start: str | None = None
    beta: float | None = None
    kl_warmup_steps: int | None = None
    mixed_precision: str | None = None
    seed: int = 0

    @classmethod
    def from_options(cls, given: dict[str, Any]) -> Settings:
        """Creates settings from a dict of given options, with defaults for the others.

        Raises:
            ValueError: If an option does not apply to the type of model.
        """
        model = given.get("model", cls.model)
        for kind, options in ONLY_FOR.items():
            foreign = [name for name in options if name in given and kind != model]
            if foreign:
                raise ValueError(
                    f"{option_of(foreign[0])} requires --model {kind}. Received: --model {model}"
                )
        return cls(**_with_tuples({**ONLY_FOR.get(model, {}), **given}))

    @classmethod
    def from_json(cls, values: Any) -> Settings:
        """Creates settings from the output of `to_json`.

        Raises:
            ValueError: If the names of the settings do not match.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(values, dict) or set(values) != names:
            raise ValueError(
                "The settings in config.json do not match this version of keras-vq. Start a "
                f"new run. Received: {values!r}"
            )
        return cls(**_with_tuples(values))

    def to_json(self) -> dict[str, Any]:
        """Returns the settings as a dict of JSON values."""
        return dataclasses.asdict(self)

    def completed(self, image_shape: tuple[int, int, int], images: int) -> Settings:
        """Returns settings with the defaults that depend on the images.

        Args:
            image_shape: Tuple `(height, width, channels)`.
            images: Integer. Number of training images.
        """
        height, width, _ = image_shape
        network = self.network or "convolutional"
        filters = self.filters
        if filters is None and network == "dense":
            filters = _UNITS
        elif filters is None:
            filters = _FILTERS[network][default_halvings(height, width)]
        epochs = self.epochs or (EPOCHS_OF_SMALL_SET if images < SMALL_SET else EPOCHS)
        return dataclasses.replace(self, network=network, filters=filters, epochs=epochs)


def option_of(name: str) -> str:
    """Returns the command line option of a setting."""
    return "--" + name.replace("_", "-")


def default_halvings(height: int, width: int) -> int:
    """Returns the default number of strided layers, each of which halves height and width.

    By the smaller side: 1 below 16 pixels, 2 below 96, 3 below 256, else 4. Latent maps of images
    of 8 to 512 pixels are then 4 x 4 to 32 x 32.
    """
    return 1 + sum(min(height, width) >= bound for bound in (16, 96, 256))


def _with_tuples(values: dict[str, Any]) -> dict[str, Any]:
    """Converts lists, which JSON and argparse produce, to tuples."""
    return {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
