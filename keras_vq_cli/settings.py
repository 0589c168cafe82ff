"""The settings of a training run: what was asked for, what is left to default, what is on disk."""

from __future__ import annotations

import dataclasses
from typing import Any

MODELS = ("vqvae", "vae", "autoencoder")
NETWORKS = ("convolutional", "residual_convolutional", "dense")

# Settings that one kind of model has and others lack, with their defaults.
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

# Widths of the strided layers by their number, as in the papers and examples of the field.
_FILTERS = {
    "convolutional": {1: (64,), 2: (32, 64), 3: (32, 64, 128), 4: (32, 64, 128, 128)},
    "residual_convolutional": {1: (128,), 2: (64, 128), 3: (64, 128, 128), 4: (64, 128, 128, 128)},
}
_UNITS = (512, 256)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that decides what a run does; None in a setting that the model doesn't have."""

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
        """Settings of the options that were given, by their names.

        Raises:
            ValueError: If an option does not belong to the model.
        """
        model = given.get("model", cls.model)
        for kind, options in ONLY_FOR.items():
            foreign = [name for name in options if name in given and kind != model]
            if foreign:
                raise ValueError(
                    f"{option(foreign[0])} is an option of --model {kind} and has no meaning for "
                    f"a model of another kind. Received: --model {model}"
                )
        return cls(**_with_tuples({**ONLY_FOR.get(model, {}), **given}))

    @classmethod
    def from_json(cls, values: Any) -> Settings:
        """Settings as `to_json` gave them.

        Raises:
            ValueError: If they are not such settings.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(values, dict) or set(values) != names:
            raise ValueError(
                "The settings in config.json are not those of this version of keras-vq: start a "
                f"new run. Received: {values!r}"
            )
        return cls(**_with_tuples(values))

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return dataclasses.asdict(self)

    def completed(self, image_shape: tuple[int, int, int], images: int) -> Settings:
        """Returns these settings with the defaults that depend on the images filled in.

        Args:
            image_shape: (height, width, channels).
            images: Number of training images.
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


def option(name: str) -> str:
    """How an argument's name is written on the command line."""
    return "--" + name.replace("_", "-")


def default_halvings(height: int, width: int) -> int:
    """Returns the default number of strided layers, each of which halves the images.

    One below 16 pixels, two below 96, three below 256, else four: latent maps of 4 x 4 to
    32 x 32.
    """
    return 1 + sum(min(height, width) >= bound for bound in (16, 96, 256))


def _with_tuples(values: dict[str, Any]) -> dict[str, Any]:
    """Values as they are but for lists, which come of JSON and of argparse."""
    return {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
