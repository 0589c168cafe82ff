"""Every quantizer in the same small autoencoder on CIFAR-10, at about 9 and 12 bits per position.

32 x 32 pixels become 8 x 8 latents of 32 dimensions, each quantized to the same number of bits. The
network, its seed, the batches and the number of steps are equal. Usage and perplexity are computed
over the codes of all test images; for quantizers with several codes per vector they are averages.
`RandomProjectionQuantizer` is not in the table, because its codes are training targets and not a
bottleneck.

Each finished row is stored next to the results, so an interrupted run resumes.

Run: python -m recipes.compare_quantizers [--steps 1000] [--limit N] [--only NAME]
"""

import argparse
import json
from collections.abc import Callable

import keras
import numpy as np

import keras_vq
from keras_vq import (
    DeadCodeRestart,
    EMACodebook,
    FiniteScalarQuantizer,
    GradientCodebook,
    GumbelSoftmaxQuantizer,
    ImplicitNeuralQuantizer,
    IndexBackpropagationQuantizer,
    LatentQuantizer,
    LookupFreeQuantizer,
    MultiScaleQuantizer,
    OnlineClustering,
    ProductQuantizer,
    ProjectedCodebook,
    ProjectedQuantizer,
    Quantizer,
    ResidualQuantizer,
    SGDCodebook,
    VectorQuantizer,
)
from keras_vq.estimators import Directional
from recipes._pictures import draw_comparison
from recipes.common import RandomBatches, StepSeconds, Stopwatch, likeness, results_folder, save

SEED = 0
BATCH_SIZE = 64
LEARNING_RATE = 1e-3
LATENT_DIM = 32
BITS = (9, 12)

LEVELS = {9: [8, 8, 8], 12: [7, 5, 5, 5, 5]}


def ema(size: int) -> EMACodebook:
    # An EMA over 100 steps adapts too slowly in a run of 1,000 steps.
    return EMACodebook(size, decay=0.95, restart=DeadCodeRestart())


def gumbel(bits: int) -> Quantizer:
    annealed = keras.optimizers.schedules.ExponentialDecay(1.0, 1000, 1 / 16)
    return GumbelSoftmaxQuantizer(2**bits, temperature=annealed)


def parts(bits: int, count: int) -> list[Quantizer]:
    return [VectorQuantizer(codebook=ema(2 ** (bits // count))) for _ in range(count)]


QUANTIZERS: dict[str, Callable[[int], Quantizer]] = {
    "gradient": lambda bits: VectorQuantizer(codebook=GradientCodebook(2**bits)),
    "gradient, restarts": lambda bits: VectorQuantizer(
        codebook=GradientCodebook(2**bits, decay=0.95, restart=DeadCodeRestart())
    ),
    "gradient, online clustering": lambda bits: VectorQuantizer(
        codebook=GradientCodebook(2**bits, restart=OnlineClustering())
    ),
    "EMA": lambda bits: VectorQuantizer(codebook=EMACodebook(2**bits, decay=0.95)),
    "EMA, restarts": lambda bits: VectorQuantizer(codebook=ema(2**bits)),
    "EMA, restarts, rotation trick": lambda bits: VectorQuantizer(
        codebook=ema(2**bits), estimator="rotation_trick"
    ),
    "EMA, restarts, cosine in 8 dimensions": lambda bits: ProjectedQuantizer(
        VectorQuantizer(codebook=ema(2**bits), metric="cosine"), 8
    ),
    "DiVeQ, restarts": lambda bits: VectorQuantizer(
        codebook=GradientCodebook(
            2**bits, decay=0.95, restart=DeadCodeRestart(), codebook_loss_weight=0.0
        ),
        commitment_weight=0.0,
        estimator=Directional(),
    ),
    "own gradient step, restarts": lambda bits: VectorQuantizer(
        codebook=SGDCodebook(
            2**bits, 0.1 * 2**bits * LATENT_DIM, decay=0.95, restart=DeadCodeRestart()
        )
    ),
    "SimVQ": lambda bits: VectorQuantizer(codebook=ProjectedCodebook(2**bits)),
    "FSQ": lambda bits: ProjectedQuantizer(FiniteScalarQuantizer(LEVELS[bits]), len(LEVELS[bits])),
    "LFQ": lambda bits: ProjectedQuantizer(LookupFreeQuantizer(), bits),
    "BSQ": lambda bits: ProjectedQuantizer(LookupFreeQuantizer(spherical=True), bits),
    "latent": lambda bits: ProjectedQuantizer(LatentQuantizer([8] * (bits // 3)), bits // 3),
    "Gumbel-softmax": gumbel,
    "IBQ": lambda bits: IndexBackpropagationQuantizer(2**bits),
    "residual, 3 stages": lambda bits: ResidualQuantizer(parts(bits, 3)),
    "QINCo, 3 stages": lambda bits: ResidualQuantizer(
        [
            VectorQuantizer(codebook=ema(2 ** (bits // 3))),
            *(ImplicitNeuralQuantizer(2 ** (bits // 3)) for _ in range(2)),
        ]
    ),
    "product, 2 parts": lambda bits: ProductQuantizer(
        [
            VectorQuantizer(codebook=ema(2 ** ((bits + 1) // 2))),
            VectorQuantizer(codebook=ema(2 ** (bits // 2))),
        ]
    ),
    # 85 codes for 64 positions: fewer bits per code give about the same bits per position.
    "multi-scale, 1 2 4 8": lambda bits: MultiScaleQuantizer(
        VectorQuantizer(codebook=ema(2 ** {9: 7, 12: 9}[bits])), scales=[1, 2, 4, 8]
    ),
}


def measure(
    build: Callable[[int], Quantizer], bits: int, steps: int, train: np.ndarray, test: np.ndarray
) -> dict[str, float]:
    """Trains one model and evaluates it on the test images."""
    keras.utils.set_random_seed(SEED)
    encoder, decoder = keras_vq.networks.residual_convolutional(
        (32, 32, 3),
        filters=(32, 64),
        latent_dim=LATENT_DIM,
        residual_blocks=1,
        output_activation="sigmoid",
    )
    quantizer = build(bits)
    variance = float(train.var(dtype="float64"))
    model = keras_vq.VQVAE(encoder, quantizer, decoder, data_variance=variance)
    model.compile(keras.optimizers.Adam(LEARNING_RATE))
    clock = StepSeconds()
    model.fit(RandomBatches(train, steps, BATCH_SIZE, SEED), shuffle=False, callbacks=[clock])

    logs = model.evaluate(test, batch_size=BATCH_SIZE, return_dict=True, verbose=0)
    return {
        "bits per position": quantizer.bits_per_vector,
        **likeness(test, model.reconstruct(test)),
        "usage, %": 100 * logs["codebook_usage"],
        "perplexity": logs["perplexity"],
        "step, ms": 1000 * float(np.median(clock.seconds[1:])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--limit", type=int, default=50_000, help="first N images of each split")
    parser.add_argument("--only", choices=list(QUANTIZERS), help="one quantizer only")
    arguments = parser.parse_args()
    stopwatch = Stopwatch()

    train = keras_vq.data.load("cifar10", "train").take(arguments.limit).images
    test = keras_vq.data.load("cifar10", "test").take(arguments.limit).images
    # A single quantizer gets its own results file and does not replace the whole table.
    name = "compare_quantizers" + (f"_{arguments.only}" if arguments.only else "")
    name = name.replace(" ", "_")
    kept_file = results_folder() / f".{name}_{arguments.steps}.json"
    kept = json.loads(kept_file.read_text()) if kept_file.exists() else {}

    chosen = {name: QUANTIZERS[name] for name in QUANTIZERS if arguments.only in (None, name)}
    for quantizer, build in chosen.items():
        for bits in BITS:
            row = f"{quantizer}, {bits} bits"
            if row in kept:
                continue
            print(row)
            kept[row] = measure(build, bits, arguments.steps, train, test)
            beside = kept_file.with_suffix(".part")
            beside.write_text(json.dumps(kept))
            beside.replace(kept_file)

    title = f"CIFAR-10, {arguments.steps} steps of {BATCH_SIZE} images, 8 x 8 positions"
    if arguments.only is None:
        draw_comparison(kept, results_folder() / f"{name}.png", title)
    save(name, kept, SEED, stopwatch)
    kept_file.unlink()


if __name__ == "__main__":
    main()
