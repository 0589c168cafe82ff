"""Trains the presets that ship with the package.

Each model is trained, its kernels are rounded to int8 precision, evaluated on all test images and
written to `saved_models/NAME` with pictures of its outputs. The table in `saved_models/README.md`
is generated from that folder.

Run: python -m recipes.saved_models [--only NAME] [--out saved_models] [--limit N]
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

import keras_vq
from keras_vq import DeadCodeRestart, EMACodebook, ProjectedQuantizer, VectorQuantizer
from keras_vq.export import round_convolutions
from keras_vq.models.presets import save_preset
from keras_vq.plots import plot_reconstructions, plot_samples
from recipes import _machine
from recipes.common import Stopwatch, likeness

OUT = Path(__file__).parents[1] / "saved_models"
SEED = 0
LEARNING_RATE = 1e-3
# Posterior samples per test image; the ELBO estimate then varies by hundredths of a nat.
SAMPLES = 5
# Variance of all pixels of the 50,000 training images, as published.
CIFAR10_VARIANCE = 0.0633


class Plan(NamedTuple):
    """Training settings of a preset."""

    description: str
    dataset: str
    build: Callable[[], keras_vq.models.ReconstructionModel]
    epochs: int
    batch_size: int
    # Whether the learning rate follows a cosine decay to 0.
    decays: bool


def vqvae_mnist() -> keras_vq.VQVAE:
    encoder, decoder = keras_vq.networks.convolutional(
        (28, 28, 1), filters=(32, 64), latent_dim=16, output_activation="sigmoid"
    )
    codebook = EMACodebook(128, decay=0.95, restart=DeadCodeRestart())
    return keras_vq.VQVAE(encoder, VectorQuantizer(codebook=codebook), decoder)


def vae_mnist() -> keras_vq.VAE:
    maps = keras_vq.networks.convolutional(
        (28, 28, 1), filters=(32, 64), latent_dim=None, output_activation="sigmoid"
    )
    return keras_vq.VAE(*keras_vq.networks.flat_latent(maps, None), latent_dim=16)


def vqvae_cifar10() -> keras_vq.VQVAE:
    encoder, decoder = keras_vq.networks.residual_convolutional(
        (32, 32, 3), filters=(64, 64), latent_dim=32, output_activation="sigmoid"
    )
    codebook = EMACodebook(512, restart=DeadCodeRestart())
    # With 2 instead of the default 0.25 the error was 4 % lower after the same number of steps.
    quantizer = ProjectedQuantizer(
        VectorQuantizer(codebook=codebook, commitment_weight=2.0, metric="cosine"), 8
    )
    return keras_vq.VQVAE(encoder, quantizer, decoder)


PLANS = {
    "vqvae_mnist": Plan(
        "VQ-VAE: 28 x 28 gray pixels to 7 x 7 codes of 7 bits",
        dataset="mnist",
        build=vqvae_mnist,
        epochs=6,
        batch_size=128,
        decays=False,
    ),
    "vae_mnist": Plan(
        "VAE: 28 x 28 gray pixels to 16 Gaussian latents",
        dataset="mnist",
        build=vae_mnist,
        epochs=10,
        batch_size=128,
        decays=True,
    ),
    "vqvae_cifar10": Plan(
        "VQ-VAE: 32 x 32 RGB pixels to 8 x 8 codes of 9 bits",
        dataset="cifar10",
        build=vqvae_cifar10,
        epochs=8,
        batch_size=64,
        decays=True,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=list(PLANS), help="one model only")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the presets")
    parser.add_argument("--limit", type=int, default=60_000, help="first N images of each split")
    arguments = parser.parse_args()

    for name in PLANS:
        if arguments.only in (None, name):
            make(name, arguments.out, arguments.limit)
    (arguments.out / "README.md").write_text(readme(arguments.out), encoding="utf-8")


def make(name: str, out: Path, limit: int) -> None:
    """Trains and evaluates one model, and writes its preset and pictures."""
    plan = PLANS[name]
    stopwatch = Stopwatch()
    train = keras_vq.data.load(plan.dataset, "train").take(limit).images
    test = keras_vq.data.load(plan.dataset, "test").take(limit).images

    keras.utils.set_random_seed(SEED)
    model = plan.build()
    steps = -(-len(train) // plan.batch_size)
    rate: Any = LEARNING_RATE
    if plan.decays:
        rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, plan.epochs * steps)
    model.compile(keras.optimizers.Adam(rate))
    model.fit(train, batch_size=plan.batch_size, epochs=plan.epochs, verbose=2)
    # An int8 export then stores the kernels exactly. The parts after the encoder are trained once
    # more on its rounded outputs.
    round_convolutions(model.encoder)
    model.encoder.trainable = False
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-4, steps)))
    model.fit(train, batch_size=plan.batch_size, verbose=2)
    round_convolutions(model.decoder)
    model.encoder.trainable = True

    reconstructions = np.clip(model.reconstruct(test), 0.0, 1.0)
    figures = measure(model, test, reconstructions)
    command = ["python", "-m", "recipes.saved_models", "--only", name]
    save_preset(
        model,
        out / name,
        figures,
        plan.description,
        overwrite=True,
        details={
            "command": " ".join(command + (["--limit", str(limit)] if limit < 50_000 else [])),
            "seed": SEED,
            "data": f"trained on {len(train):,} images of {plan.dataset}, measured on "
            f"{len(test):,} test images",
            "notes": notes_on(plan.dataset, train),
            "training": f"{plan.epochs} epochs and 1 with the rounded encoder, "
            f"{(plan.epochs + 1) * steps:,} steps of {plan.batch_size} images",
            "seconds": stopwatch.seconds(),
            "backend": keras.backend.backend(),
            "machine": _machine.described(),
        },
    )
    draw(model, test, reconstructions, out / name, f"{name}: test MSE {figures['test MSE']:.5f}")
    for figure, value in figures.items():
        print(f"{name}: {figure} {shown(value)}")


def measure(
    model: keras_vq.models.ReconstructionModel, test: np.ndarray, reconstructions: np.ndarray
) -> dict[str, float]:
    """Evaluates a model on the test images."""
    figures = likeness(test, reconstructions)
    rounds = SAMPLES if isinstance(model, keras_vq.VAE) else 1
    logs = [
        model.evaluate(test, batch_size=128, return_dict=True, verbose=0) for _ in range(rounds)
    ]
    if isinstance(model, keras_vq.VAE):
        figures["ELBO, nats"] = -float(np.mean([log["loss"] for log in logs]))
        figures["KL divergence, nats"] = float(np.mean([log["kl_loss"] for log in logs]))
    else:
        codes = model.encode(test)
        figures["codes"] = model.quantizer.codebook_sizes[0]
        figures["codes used"] = len(np.unique(codes))
        figures["perplexity"] = logs[0]["perplexity"]
        figures["bits per image"] = codes[0].size * model.quantizer.bits_per_vector
    figures["parameters"] = model.count_params()
    return figures


def notes_on(dataset: str, train: np.ndarray) -> list[str]:
    """Returns notes on the data that readers of the figures need."""
    variance = float(train.var(dtype="float64"))
    if dataset != "cifar10" or round(variance, 4) == CIFAR10_VARIANCE:
        return []
    return [
        "The pixels of this copy of CIFAR-10 come from a JPEG copy of the data set (variance "
        f"{variance:.4f}, officially {CIFAR10_VARIANCE}): the figures compare only roughly with "
        "those of papers."
    ]


def draw(
    model: keras_vq.models.ReconstructionModel,
    test: np.ndarray,
    reconstructions: np.ndarray,
    folder: Path,
    title: str,
) -> None:
    """Writes pictures of model outputs."""
    plot_reconstructions(
        test[:10], reconstructions[:10], filepath=folder / "reconstructions.png", title=title
    )
    if isinstance(model, keras_vq.VAE):
        plot_samples(
            model.generate(40, seed=SEED),
            filepath=folder / "samples.png",
            title=f"{folder.name}: images of random latents",
        )


HEAD = """\
# Saved models

Small trained models that are bundled with the package, also in its wheel. Every backend loads them:

```python
import keras_vq

model = keras_vq.{cls}.from_preset("{name}")
```

`model.save_to_preset("my/folder")` writes such a folder, and `from_preset("my/folder")` loads it.
`preset.json` records the seed, command, versions and figures of a model, and the hash of its
`model.keras`, which `from_preset` checks.

`python -m recipes.saved_models` trains the models and writes this folder; `--only NAME` trains one
model.
"""


def readme(out: Path) -> str:
    """Returns the README of a folder of presets."""
    presets = {
        path.parent.name: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(out.glob("[!.]*/preset.json"))
    }
    name, record = list(presets.items())[-1]
    lines = [
        HEAD.format(cls=record["class"], name=name),
        "## Figures",
        "",
        "On all test images, pixels in [0, 1].",
        "",
        "| | " + " | ".join(f"`{name}`" for name in presets) + " |",
        "| --- |" + " --- |" * len(presets),
    ]
    figures = dict.fromkeys(key for record in presets.values() for key in record["figures"])
    rows: dict[str, list[object]] = {
        "class": [f"`{record['class']}`" for record in presets.values()],
        "training": [record["training"] for record in presets.values()],
        **{key: [r["figures"].get(key, "") for r in presets.values()] for key in figures},
        "`model.keras`, kB": [(out / n / "model.keras").stat().st_size // 1000 for n in presets],
        "duration, s": [record["seconds"] for record in presets.values()],
        "backend": [record["backend"] for record in presets.values()],
    }
    lines += [f"| {key} | " + " | ".join(map(shown, row)) + " |" for key, row in rows.items()]
    for name, record in presets.items():
        lines += [line for note in record["notes"] for line in ("", f"`{name}`: {note}")]
    for name, record in presets.items():
        lines += [
            "",
            f"## {name}",
            "",
            f"{record['description']}; {record['data']}.",
            "",
            f"    {record['command']}",
            "",
            f"![Test images above their reconstructions]({name}/reconstructions.png)",
        ]
        if (out / name / "samples.png").exists():
            lines += ["", f"![Images of random latents]({name}/samples.png)"]
    machines = sorted({record["machine"] for record in presets.values()})
    lines += ["", f"Machine: {'; '.join(machines)}."]
    return "\n".join(lines) + "\n"


def shown(value: object) -> str:
    """Formats a figure with four significant digits; integers in full."""
    if not isinstance(value, float | int):
        return str(value)
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"


if __name__ == "__main__":
    main()
