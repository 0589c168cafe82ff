"""RQ-VAE on MNIST: `RQVAEBackbone` of KerasHub and `ResidualQuantizer`, with equal networks.

Both have the same dense encoder and decoder with the same first weights, the same images in the
same order, the same optimizer and the same loss: the mean squared error over the variance of the
data plus 0.25 times the sum of the commitment losses of the stages. Figures are means over seeds
with their range, on the test images. `RQVAEBackbone` is not in the public API of KerasHub 0.32 and
is imported from its source. KerasHub is in no extra, because it needs one version of TensorFlow:
`pip install keras-hub`, in an environment of its own.

Run: python -m recipes.keras_hub_rqvae [--epochs 3] [--seeds 3] [--codes 64] [--only NAME]
     [--limit N]
"""

import argparse
import importlib.util
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import keras_vq
from keras_vq import DeadCodeRestart, EMACodebook, ResidualQuantizer, VectorQuantizer
from recipes.common import RandomBatches, Stopwatch, mean_squared_error, save

STAGES = 4
LATENT_DIM = 16
WIDTHS = (256, 128)
BATCH_SIZE = 128
LEARNING_RATE = 1e-3
COMMITMENT = 0.25

Coder = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def of_keras_hub(features: int, variance: float, codes: int) -> tuple[keras.Model, Coder]:
    """Builds the model of KerasHub and its function of inputs to codes and reconstructions."""
    from keras_hub.src.models.rqvae import RQVAEBackbone

    model = RQVAEBackbone(
        input_dim=features,
        encoder_layer_dims=list(WIDTHS),
        output_dim=LATENT_DIM,
        decoder_layer_dims=list(reversed(WIDTHS)),
        num_embeddings=codes,
        num_quantizers=STAGES,
        data_variance=variance,
        commitment_cost=COMMITMENT,
    )

    def coded(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # `predict` would join the batches along the axis of stages.
        outputs = model(inputs)
        codes = keras.ops.convert_to_numpy(outputs["encodings"]).argmax(-1).T
        return codes, keras.ops.convert_to_numpy(outputs["reconstructions"])

    return model, coded


def of_keras_vq(
    features: int, variance: float, quantizer: Callable[[], VectorQuantizer]
) -> tuple[keras.Model, Coder]:
    """Builds the model of this package and its function of inputs to codes and reconstructions."""

    def network(sizes: tuple[int, ...], outputs: int) -> keras.Sequential:
        hidden = [keras.layers.Dense(size, activation="relu") for size in sizes[1:]]
        return keras.Sequential([keras.Input(sizes[:1]), *hidden, keras.layers.Dense(outputs)])

    encoder = network((features, *WIDTHS), LATENT_DIM)
    decoder = network((LATENT_DIM, *reversed(WIDTHS)), features)
    stages = ResidualQuantizer([quantizer() for _ in range(STAGES)])
    model = keras_vq.VQVAE(encoder, stages, decoder, data_variance=variance)

    def coded(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        codes = model.encode(inputs)
        return codes, model.decode(codes)

    return model, coded


Build = Callable[[int, float, int], tuple[keras.Model, Coder]]

MODELS: dict[str, Build] = {
    "KerasHub": of_keras_hub,
    "keras_vq, EMA without restarts": lambda features, variance, codes: of_keras_vq(
        features, variance, lambda: VectorQuantizer(codebook=EMACodebook(codes))
    ),
    "keras_vq, default": lambda features, variance, codes: of_keras_vq(
        features, variance, lambda: VectorQuantizer(codes)
    ),
    "keras_vq, decay 0.95": lambda features, variance, codes: of_keras_vq(
        features,
        variance,
        lambda: VectorQuantizer(codebook=EMACodebook(codes, decay=0.95, restart=DeadCodeRestart())),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--codes", type=int, default=64, help="codes of each stage")
    parser.add_argument("--limit", type=int, default=60_000, help="first N images of each split")
    parser.add_argument("--only", default="", metavar="NAME", help="models with NAME in their name")
    arguments = parser.parse_args()
    chosen = {name: build for name, build in MODELS.items() if arguments.only in name}
    if "KerasHub" in chosen and importlib.util.find_spec("keras_hub") is None:
        parser.error("keras_hub is not installed: pip install keras-hub")
    stopwatch = Stopwatch()
    train, test = (flat_images(split, arguments.limit) for split in ("train", "test"))
    steps = arguments.epochs * max(1, len(train) // BATCH_SIZE)

    rows: dict[str, list[dict[str, float]]] = {name: [] for name in chosen}
    for seed in range(arguments.seeds):
        weights: dict[str, list[np.ndarray]] = {}
        for name, build in chosen.items():
            rows[name].append(measure(build, arguments.codes, train, test, steps, seed, weights))
    table: dict[str, Any] = {}
    for name, of_seeds in rows.items():
        columns = {key: [row[key] for row in of_seeds] for key in of_seeds[0]}
        table[name] = {key: float(np.mean(values)) for key, values in columns.items()}
        table[name]["test MSE, range"] = float(np.ptp(columns["test MSE"]))
    name = "keras_hub_rqvae" if arguments.codes == 64 else f"keras_hub_rqvae_{arguments.codes}"
    save(name, table, 0, stopwatch)


def flat_images(split: str, limit: int) -> np.ndarray:
    """Returns images as vectors."""
    return keras_vq.data.load("mnist", split).take(limit).images.reshape(-1, 28 * 28)[:limit]


def measure(
    build: Build,
    size: int,
    train: np.ndarray,
    test: np.ndarray,
    steps: int,
    seed: int,
    weights: dict[str, list[np.ndarray]],
) -> dict[str, float]:
    """Trains a model from the given weights of its networks, and returns its figures."""
    keras.utils.set_random_seed(seed)
    model, coded = build(train.shape[1], float(train.var(dtype="float64")), size)
    coded(train[:1])  # builds the weights
    for part in (model.encoder, model.decoder):
        # The networks of the first model are those of all others.
        key = "encoder" if part is model.encoder else "decoder"
        part.set_weights(weights.setdefault(key, part.get_weights()))
    model.compile(keras.optimizers.Adam(LEARNING_RATE))
    batches = RandomBatches(train, steps, BATCH_SIZE, seed)
    model.fit(batches, shuffle=False, verbose=0)
    codes, made = (np.concatenate(parts) for parts in zip(*map(coded, in_parts(test)), strict=True))
    counts = [np.bincount(stage, minlength=size).astype("float32") for stage in codes.T]
    return {
        "test MSE": mean_squared_error(test, made),
        "codes in use, %": 100 * float(np.mean([np.mean(count > 0) for count in counts])),
        "perplexity per stage": float(np.mean([keras_vq.ops.perplexity(c) for c in counts])),
        "different code tuples, %": 100 * len(np.unique(codes, axis=0)) / len(codes),
    }


def in_parts(inputs: np.ndarray) -> list[np.ndarray]:
    """Splits inputs into parts of 1,000."""
    return [inputs[start : start + 1000] for start in range(0, len(inputs), 1000)]


if __name__ == "__main__":
    main()
