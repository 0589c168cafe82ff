"""Sequences: VQ-VAEs on text, audio and time series with convolutions, GRUs and Transformers.

Text consists of passages of the Python documentation, 24 to 64 characters each; audio of
synthesized plucked strings, 1,024 samples at 8 kHz; time series of damped oscillations, 32 to 96
steps in two channels. Padding is masked: recurrent and Transformer networks propagate the mask,
convolutional networks use sample weights. Quality is the character accuracy or the signal-to-noise
ratio on held-out sequences, against bits per character or step. Codes have four residual stages
(audio: eight); decoding fewer stages lowers the bit rate. For the VAE of GRUs, the bit rate is its
KL divergence in bits.

Run: python -m recipes.sequences [--epochs N] [--limit N]
"""

import argparse
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from matplotlib.figure import Figure

import keras_vq
from keras_vq import DeadCodeRestart, EMACodebook, ResidualQuantizer, VectorQuantizer
from keras_vq.networks import (
    EncoderDecoder,
    convolutional_sequence,
    recurrent_sequence,
    transformer_sequence,
)
from recipes import _sequences
from recipes._pictures import in_powers_of_two
from recipes.common import (
    Stopwatch,
    kept_models,
    results_folder,
    save,
    trained,
    warmed_up_and_falling,
)

SEED = 0
BATCH_SIZE = 64
LEARNING_RATE = 2e-3
TESTS = 1000
# Residual stages, and the numbers of stages to decode.
STAGES = {"text": 4, "audio": 8, "series": 4}
DECODED = (1, 2, 4, 8)


def tests_beside(limit: int) -> int:
    """Returns the number of test sequences, at most the number of training sequences."""
    return min(TESTS, limit)


def residual(stages: int) -> keras_vq.Quantizer:
    """Builds a residual quantizer with quantizer dropout, so that any number of stages decodes."""
    quantizers = [
        VectorQuantizer(codebook=EMACodebook(256, decay=0.95, restart=DeadCodeRestart()))
        for _ in range(stages)
    ]
    return ResidualQuantizer(quantizers, dropout=1.0, seed=SEED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--limit", type=int, default=8000, help="sequences of each kind")
    arguments = parser.parse_args()
    stopwatch = Stopwatch()

    letters, lengths = _sequences.text(SEED)
    count = arguments.limit + tests_beside(arguments.limit)
    waves = _sequences.plucked_strings(count, SEED)
    series, durations = _sequences.oscillations(count, SEED)

    kinds = [
        Sequences("text", letters, lengths, arguments),
        Sequences("audio", waves, np.full(len(waves), waves.shape[1]), arguments),
        Sequences("series", series, durations, arguments),
    ]
    table: dict[str, dict[str, object]] = {}
    drawn: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for kind in kinds:
        for name, networks in NETWORKS[kind.kind](kind.train.shape[1:]).items():
            model, seconds = kind.vqvae(name, networks)
            codes = model.encode(kind.test)
            bits = kind.bits(codes, model)
            stages = STAGES[kind.kind]
            for decoded in (count for count in DECODED if count <= stages):
                # A code of -1 marks a stage that is left out.
                some = np.where(np.arange(stages) < decoded, codes, -1)
                made = model.decode(some)
                table[f"{kind.kind}: {name}, {decoded} of {stages} stages"] = {
                    "bits per step": bits * decoded / stages,
                    **kind.quality(made),
                    "training, s": seconds,
                }
            if kind.kind != "text":
                drawn[f"{kind.kind}, {name}, {bits:.2g} bits per step"] = kind.first(made)
    table["text: each letter by its own code"] = {
        "bits per step": math.log2(letters.shape[-1]),
        "character accuracy, %": 100.0,
    }
    row, made = vae_of_series(kinds[-1])
    table["series: VAE of GRUs, one vector per sequence"] = row
    drawn[f"series, VAE of GRUs, {row['bits per step']:.2g} bits per step"] = kinds[-1].first(made)
    draw(drawn, results_folder() / "sequences.png")
    draw_rates(table, results_folder() / "sequences_rates.png")
    save("sequences", table, SEED, stopwatch)


def audio_networks(shape: tuple[int, int]) -> dict[str, Callable[[], EncoderDecoder]]:
    """Builds convolutional networks with one latent per eight steps."""
    return {
        "convolutions": lambda: convolutional_sequence(shape, filters=(32, 64, 64), latent_dim=32)
    }


def three_networks(shape: tuple[int, int]) -> dict[str, Callable[[], EncoderDecoder]]:
    """Builds three pairs of networks with one latent per four steps."""
    of_patches: dict[str, Any] = {"latent_dim": 32, "patch": 4}
    return {
        "convolutions": lambda: convolutional_sequence(shape, filters=(64, 64), latent_dim=32),
        "GRUs": lambda: recurrent_sequence(shape, units=64, **of_patches),
        "transformers": lambda: transformer_sequence(shape, hidden_dim=64, **of_patches),
    }


NETWORKS = {"text": three_networks, "audio": audio_networks, "series": three_networks}


class Sequences:
    """Sequence data set with a test split, and models trained on it.

    Args:
        kind: String. Prefix of the file names of cached models.
        values: Float32 array of shape `(n, steps, channels)`, zero-padded at the end.
        lengths: Integer array. Number of steps of each sequence.
        arguments: Parsed command-line arguments.
    """

    def __init__(
        self, kind: str, values: np.ndarray, lengths: np.ndarray, arguments: argparse.Namespace
    ) -> None:
        self.kind, self.arguments = kind, arguments
        weights = (np.arange(values.shape[1]) < lengths[:, None]).astype("float32")
        tests = tests_beside(arguments.limit)
        self.train = values[:-tests][: arguments.limit]
        self.weights = weights[: len(self.train)]
        self.test, self.test_weights = values[-tests:], weights[-tests:]

    def vqvae(
        self, name: str, networks: Callable[[], EncoderDecoder]
    ) -> tuple[keras_vq.VQVAE, float]:
        """Loads or trains a VQ-VAE; returns it and its training time in seconds."""

        def build() -> keras_vq.VQVAE:
            encoder, decoder = networks()
            return keras_vq.VQVAE(encoder, residual(STAGES[self.kind]), decoder)

        is_text = self.kind == "text"
        loss = keras.losses.CategoricalCrossentropy(from_logits=True) if is_text else None
        return self.fitted(name, build, loss)

    def fitted(self, name: str, build: Callable[[], Any], loss: Any) -> tuple[Any, float]:
        """Loads or trains a model; returns it and its training time in seconds."""

        def fit(model: Any, **options: Any) -> None:
            if loss is not None:
                model.compile(model.optimizer, loss=loss)
            options = {"batch_size": BATCH_SIZE, "epochs": self.arguments.epochs, **options}
            model.fit(self.train, self.train, sample_weight=self.weights, **options)

        steps = self.arguments.epochs * math.ceil(len(self.train) / BATCH_SIZE)
        adam = keras.optimizers.Adam(warmed_up_and_falling(LEARNING_RATE, steps))
        file = f"{self.kind}_{name.replace(' ', '_')}_{self.arguments.epochs}.keras"
        folder = kept_models("sequences", self.arguments.limit)
        return trained(folder / file, build, fit, adam, SEED)

    def bits(self, codes: np.ndarray, model: keras_vq.VQVAE) -> float:
        """Returns bits per step of the codes of the test sequences."""
        # Convolutional networks also produce codes of the padding, which do not count.
        is_needed = self.test_weights.reshape(len(codes), codes.shape[1], -1).any(axis=-1)
        bits = codes[is_needed].size * math.log2(model.codebook_sizes[0])
        return bits / float(self.test_weights.sum())

    def first(self, made: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the first test sequence and its reconstruction, without padding."""
        is_step = self.test_weights[0] > 0
        return self.test[0][is_step], made[0][is_step]

    def quality(self, made: np.ndarray) -> dict[str, float]:
        """Computes the reconstruction quality of the test sequences."""
        is_step = self.test_weights > 0
        given, made = self.test[is_step].astype("float64"), made[is_step]
        if self.kind == "text":
            right = np.mean(made.argmax(axis=-1) == given.argmax(axis=-1))
            return {"character accuracy, %": 100 * float(right)}
        power, error = np.square(given).sum(), np.square(made - given).sum()
        return {"SNR, dB": 10 * math.log10(power / error)}


def vae_of_series(series: Sequences) -> tuple[dict[str, object], np.ndarray]:
    """Evaluates a VAE with one latent vector per sequence."""

    def build() -> keras_vq.VAE:
        shape = series.train.shape[1:]
        networks = recurrent_sequence(shape, units=64, latent_dim=None, whole=True)
        return keras_vq.VAE(networks.encoder, networks.decoder, latent_dim=32, seed=SEED)

    model, seconds = series.fitted("vae", build, GaussianLikelihood())
    logs = model.evaluate(series.test, series.test, batch_size=TESTS, return_dict=True, verbose=0)
    # Decodes samples, because the KL divergence is the rate of samples, not of the mean.
    made = model.decode(model.sample_latents(series.test, seed=SEED))
    steps = float(series.test_weights.sum()) / len(series.test)
    row = {
        "bits per step": logs["kl_loss"] / math.log(2) / steps,
        **series.quality(made),
        "training, s": seconds,
    }
    return row, made


@keras.saving.register_keras_serializable("keras_vq_recipes")
class GaussianLikelihood(keras.losses.Loss):
    """Gaussian negative log-likelihood with a standard deviation of 0.1, up to a constant.

    Returns one value per step, so that sample weights apply; the mean is per sequence.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"reduction": "sum_over_batch_size", **kwargs})

    def call(self, y_true: Any, y_pred: Any) -> Any:
        errors = keras.ops.sum(keras.ops.square(y_true - y_pred), axis=-1)
        return y_true.shape[1] * errors / (2 * 0.1**2)


def draw(drawn: dict[str, tuple[np.ndarray, np.ndarray]], path: object) -> None:
    """Plots the first test sequence and its reconstruction."""
    figure = Figure(figsize=(12, 2.2 * math.ceil(len(drawn) / 2)), dpi=120, layout="constrained")
    panels = np.ravel(figure.subplots(math.ceil(len(drawn) / 2), 2))
    for axes in panels[len(drawn) :]:
        axes.set_axis_off()
    for axes, (name, (given, made)) in zip(panels, drawn.items(), strict=False):
        steps = slice(0, 256)
        axes.plot(given[steps, 0], color="0.6", linewidth=2.0, label="given")
        axes.plot(made[steps, 0], color="tab:blue", linewidth=0.9, label="made")
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=7)
    panels[0].legend(fontsize=8)
    figure.savefig(path, facecolor="white")


def draw_rates(table: dict[str, dict[str, object]], path: object) -> None:
    """Plots quality against bits, one panel per data set and one line per model."""
    figure = Figure(figsize=(11, 4.2), dpi=120, layout="constrained")
    panels = figure.subplots(1, 2)
    names = list(dict.fromkeys(row.rsplit(", ", 1)[0] for row in table if "stages" in row))
    panel_of = {"character accuracy, %": panels[0], "SNR, dB": panels[1]}
    for quality, axes in panel_of.items():
        for name in names:
            rows = [row for title, row in table.items() if title.startswith(f"{name}, ")]
            if quality in rows[0]:
                points = [(row["bits per step"], row[quality]) for row in rows]
                axes.plot(*zip(*points, strict=True), marker="o", label=name)
        in_powers_of_two(axes)
        axes.set(xlabel="bits per step", ylabel=quality)
        axes.grid(alpha=0.3, which="both")
    panels[0].set_xlabel("bits per character")
    (vae,) = [title for title in table if "VAE" in title]
    row = table[vae]
    style = {"marker": "*", "markersize": 12, "color": "black", "linestyle": ""}
    panels[1].plot(row["bits per step"], row["SNR, dB"], label=vae, **style)
    for axes in panels:
        axes.legend(fontsize=8)
    figure.suptitle("Sequences that were not trained on")
    figure.savefig(path, facecolor="white")


if __name__ == "__main__":
    main()
