"""Text, audio and time series as codes: convolutions, GRUs and transformers, and a VAE of GRUs.

Text is Python's own documentation, in pieces of 24 to 64 letters; audio are plucked strings that
are synthesised, 1,024 samples at 8 kHz; time series are damped oscillations of 32 to 96 steps in
two channels. Shorter sequences are masked: recurrent and transformer networks know it by
themselves, convolutions are told by weights. The figure is the share of letters that come back, or
the signal-to-noise ratio, of sequences that were not trained on, beside the bits that a letter,
sample or step takes. The codec of audio has eight residual levels: the fewer are decoded, the
fewer bits. What a VAE takes are the bits of its KL divergence.

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
from keras_vq import DeadCodeRestart, EMACodebook, Residual, VectorQuantizer
from keras_vq.networks import (
    EncoderDecoder,
    convolutional_sequence,
    recurrent_sequence,
    transformer_sequence,
)
from recipes import _sequences
from recipes._results import Stopwatch, results_folder, save
from recipes._training import kept_models, trained, warmed_up_and_falling

SEED = 0
BATCH_SIZE = 64
LEARNING_RATE = 2e-3
TESTS = 1000
AUDIO_LEVELS = 8


def codebook() -> keras_vq.Quantizer:
    return VectorQuantizer(EMACodebook(256, decay=0.95, restart=DeadCodeRestart()))


def two_levels() -> keras_vq.Quantizer:
    return Residual([codebook() for _ in range(2)])


def audio_levels() -> keras_vq.Quantizer:
    # Each example is trained with its first few levels, so that any number of them is of use.
    return Residual([codebook() for _ in range(AUDIO_LEVELS)], dropout=1.0, seed=SEED)


def audio_networks() -> EncoderDecoder:
    shape = (_sequences.AUDIO_LENGTH, 1)
    return convolutional_sequence(shape, filters=(32, 64, 64), latent_dim=32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--limit", type=int, default=8000, help="sequences of each kind")
    arguments = parser.parse_args()
    stopwatch = Stopwatch()

    letters, lengths = _sequences.text(SEED)
    waves = _sequences.plucked_strings(arguments.limit + TESTS, SEED)
    series, durations = _sequences.oscillations(arguments.limit + TESTS, SEED)

    table: dict[str, dict[str, object]] = {}
    drawn: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    texts = Sequences("text", letters, lengths, arguments)
    for name, networks in networks_of(letters.shape[1:], patch=4).items():
        model, seconds = texts.vqvae(name, networks, two_levels, cross_entropy())
        made = model.reconstruct(texts.test)
        table[f"text: {name}"] = {
            "bits a letter": texts.bits(model),
            "letters right, %": letters_right(texts, made),
            "training, s": seconds,
        }
    table["text: each letter by its own code"] = {
        "bits a letter": math.log2(letters.shape[-1]),
        "letters right, %": 100.0,
    }

    notes = Sequences("audio", waves, np.full(len(waves), waves.shape[1]), arguments)
    model, seconds = notes.vqvae("convolutions", audio_networks, audio_levels)
    codes = model.encode_to_codes(notes.test)
    for levels in (1, 2, 4, AUDIO_LEVELS):
        # A code of -1 stands for a level that is left out.
        some = np.where(np.arange(AUDIO_LEVELS) < levels, codes, -1)
        made = model.decode_codes(some)
        drawn[f"audio, {levels} levels"] = (notes.test[0], made[0])
        table[f"audio: convolutions, {levels} of {AUDIO_LEVELS} levels"] = {
            "bits a step": notes.bits(model) * levels / AUDIO_LEVELS,
            "signal to noise, dB": signal_to_noise(notes, made),
            "training, s": seconds,
        }

    waves_of_two = Sequences("series", series, durations, arguments)
    for name, networks in networks_of(series.shape[1:], patch=4).items():
        model, seconds = waves_of_two.vqvae(name, networks, two_levels)
        made = model.reconstruct(waves_of_two.test)
        drawn[f"series, {name}"] = (waves_of_two.test[0], made[0])
        table[f"series: {name}"] = {
            "bits a step": waves_of_two.bits(model),
            "signal to noise, dB": signal_to_noise(waves_of_two, made),
            "training, s": seconds,
        }
    row, made = vae_of_series(waves_of_two)
    table["series: VAE of GRUs, one vector for all"] = row
    drawn["series, VAE of GRUs"] = (waves_of_two.test[0], made[0])
    draw(drawn, results_folder() / "sequences.png")
    save("sequences", table, SEED, stopwatch)


def networks_of(shape: tuple[int, int], patch: int) -> dict[str, Callable[[], EncoderDecoder]]:
    """Three pairs of networks that make one latent of four steps."""
    wide = {"latent_dim": 32, "patch": patch}
    return {
        "convolutions": lambda: convolutional_sequence(shape, filters=(64, 64), latent_dim=32),
        "GRUs": lambda: recurrent_sequence(shape, units=64, **wide),
        "transformers": lambda: transformer_sequence(shape, dim=64, **wide),
    }


class Sequences:
    """Sequences of one kind, and models that are trained on all but the last.

    Args:
        kind: Part of the names of kept models.
        values: Float32 `(n, steps, channels)`, 0 after the end.
        lengths: Steps of each.
        arguments: Those of the command.
    """

    def __init__(
        self, kind: str, values: np.ndarray, lengths: np.ndarray, arguments: argparse.Namespace
    ) -> None:
        self.kind, self.arguments = kind, arguments
        weights = (np.arange(values.shape[1]) < lengths[:, None]).astype("float32")
        self.train = values[: arguments.limit][:-TESTS] if kind == "text" else values[:-TESTS]
        self.weights = weights[: len(self.train)]
        self.test, self.test_weights = values[-TESTS:], weights[-TESTS:]

    def vqvae(
        self,
        name: str,
        networks: Callable[[], EncoderDecoder],
        quantizer: Callable[[], keras_vq.Quantizer],
        loss: Any = None,
    ) -> tuple[keras_vq.VQVAE, float]:
        """A VQ-VAE, and the seconds of its training."""

        def build() -> keras_vq.VQVAE:
            encoder, decoder = networks()
            return keras_vq.VQVAE(encoder, quantizer(), decoder)

        return self.fitted(name, build, loss)

    def fitted(self, name: str, build: Callable[[], Any], loss: Any) -> tuple[Any, float]:
        """A model, and the seconds of its training."""

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

    def bits(self, model: keras_vq.VQVAE) -> float:
        """Bits of the codes of the test sequences, for each of their steps."""
        codes = model.encode_to_codes(self.test)
        if self.kind != "audio":
            # Convolutions make codes of what is after the end too, which nobody needs.
            patches = self.test_weights.reshape(len(codes), codes.shape[1], -1).any(axis=-1)
            codes = codes[patches]
        return codes.size * math.log2(model.codebook_sizes[0]) / self.test_weights.sum()


def cross_entropy() -> keras.losses.Loss:
    return keras.losses.CategoricalCrossentropy(from_logits=True)


def letters_right(texts: Sequences, logits: np.ndarray) -> float:
    """Share, in %, of the letters that come back."""
    right = logits.argmax(axis=-1) == texts.test.argmax(axis=-1)
    return 100 * float(right[texts.test_weights > 0].mean())


def signal_to_noise(sequences: Sequences, made: np.ndarray) -> float:
    """10 log10 of the power of what was given over that of the error."""
    given = sequences.test[sequences.test_weights > 0].astype("float64")
    error = made[sequences.test_weights > 0] - given
    return 10 * math.log10(np.square(given).sum() / np.square(error).sum())


def vae_of_series(series: Sequences) -> tuple[dict[str, object], np.ndarray]:
    """A VAE that has one vector for a whole sequence."""

    def build() -> keras_vq.VAE:
        shape = series.train.shape[1:]
        networks = recurrent_sequence(shape, units=64, latent_dim=32, whole=True)
        return keras_vq.VAE(networks.encoder, networks.decoder, latent_dim=24, seed=SEED)

    model, seconds = series.fitted("vae", build, GaussianLikelihood())
    logs = model.evaluate(series.test, series.test, batch_size=TESTS, return_dict=True, verbose=0)
    # Of samples: the mean of the latents would take more bits than the divergence says.
    made = model.decode(model.sample_latents(series.test, seed=SEED))
    steps = series.test_weights.sum() / len(series.test)
    row = {
        "bits a step": logs["kl_loss"] / math.log(2) / steps,
        "signal to noise, dB": signal_to_noise(series, made),
        "training, s": seconds,
    }
    return row, made


@keras.saving.register_keras_serializable("keras_vq_recipes")
class GaussianLikelihood(keras.losses.Loss):
    """Negative log-likelihood of sequences whose values have a deviation of 0.1, less a constant.

    A value for each step, so that weights apply; their mean is that of whole sequences.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"reduction": "sum_over_batch_size", **kwargs})

    def call(self, y_true: Any, y_pred: Any) -> Any:
        errors = keras.ops.sum(keras.ops.square(y_true - y_pred), axis=-1)
        return y_true.shape[1] * errors / (2 * 0.1**2)


def draw(drawn: dict[str, tuple[np.ndarray, np.ndarray]], path: object) -> None:
    """What was given and what was made of the first test sequence."""
    figure = Figure(figsize=(12, 2.2 * math.ceil(len(drawn) / 2)), dpi=120, layout="constrained")
    panels = np.ravel(figure.subplots(math.ceil(len(drawn) / 2), 2))
    for axes, (name, (given, made)) in zip(panels, drawn.items(), strict=True):
        steps = slice(0, 256)
        axes.plot(given[steps, 0], color="0.6", linewidth=2.0, label="given")
        axes.plot(made[steps, 0], color="tab:blue", linewidth=0.9, label="made")
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=7)
    panels[0].legend(fontsize=8)
    figure.savefig(path, facecolor="white")


if __name__ == "__main__":
    main()
