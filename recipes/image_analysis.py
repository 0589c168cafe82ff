"""Feature learning: linear probes, retrieval and clustering of latents on MNIST and CIFAR-10.

Compares features of the autoencoder, VAE and VQ-VAE of `compare_models` with raw pixels and
principal components. The features are learned without labels. The pictures show the code at each
position of an image, and a t-SNE plot of the latents of test images. The CIFAR-10 images come from
a JPEG copy if the data set does.

Run: python -m recipes.image_analysis [--limit N] [--epochs N] [--datasets mnist]
"""

import argparse

import numpy as np
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

import keras_vq
from keras_vq.data import ImageDataset
from keras_vq.plots import plot_latent_space
from recipes._compared import PLANS, SEED, code_histograms, compared, features
from recipes._probes import cluster_agreement, linear_probe, retrieval
from recipes.common import Stopwatch, add_datasets, name_of_run, results_folder, save

PROBED = 60_000
QUERIES = 2000
MAPPED = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=int, default=60_000, help="first N images of each split")
    parser.add_argument("--epochs", type=int, help="of the models, as in compare_models")
    add_datasets(parser)
    arguments = parser.parse_args()
    stopwatch = Stopwatch()

    table: dict[str, dict[str, object]] = {}
    for dataset in arguments.datasets:
        plan = PLANS[dataset]
        train = keras_vq.data.load(dataset, "train").take(arguments.limit)
        test = keras_vq.data.load(dataset, "test").take(arguments.limit)
        models = {
            name: compared(dataset, name, train, arguments.limit, arguments.epochs)[0]
            for name in ("autoencoder", "VAE", "VQ-VAE")
        }
        vqvae = models["VQ-VAE"]
        few = train.take(PROBED)
        pixels = flat(few.images), flat(test.images)
        pca = PCA(min(plan.latent_dim, len(few)), random_state=SEED).fit(pixels[0])
        kinds = {
            "pixels": pixels,
            f"{pca.n_components_} principal components": tuple(map(pca.transform, pixels)),
            "autoencoder's latents": both(models["autoencoder"], few, test),
            "VAE's means": both(models["VAE"], few, test),
            "VQ-VAE's quantized latents": both(vqvae, few, test),
            "histograms of codes": (
                code_histograms(vqvae, few.images),
                code_histograms(vqvae, test.images),
            ),
        }
        for name, (of_train, of_test) in kinds.items():
            some = slice(0, QUERIES)
            table[f"{dataset}: {name}"] = {
                "features per image": of_train.shape[1],
                "linear probe, %": linear_probe(of_train, few.labels, of_test, test.labels),
                "label agreement of 10 neighbors, %": retrieval(
                    of_train, few.labels, of_test[some], test.labels[some]
                ),
                "NMI of clusters": cluster_agreement(of_test, test.labels, SEED),
            }
        draw_code_maps(vqvae, test, results_folder() / f"image_analysis_{dataset}_codes.png")
        draw_tsne(vqvae, test, results_folder() / f"image_analysis_{dataset}_tsne.png")
    save(name_of_run("image_analysis", arguments.datasets), table, SEED, stopwatch)


def flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)


def both(
    model: keras_vq.models.ReconstructionModel, train: ImageDataset, test: ImageDataset
) -> tuple[np.ndarray, np.ndarray]:
    return features(model, train.images), features(model, test.images)


def draw_code_maps(vqvae: keras_vq.VQVAE, test: ImageDataset, path: object) -> None:
    """Plots images, their code maps and the reconstructions."""
    images = test.images[:MAPPED]
    codes, made = vqvae.encode(images), vqvae.reconstruct(images)
    # Similar code vectors get similar colors: they are sorted by their first principal component.
    table = vqvae.quantizer.decode(np.arange(vqvae.codebook_sizes[0], dtype="int32"))
    order = np.argsort(np.argsort(PCA(1).fit_transform(np.asarray(table))[:, 0]))
    figure = Figure(figsize=(1.3 * MAPPED, 4.4), dpi=150, layout="constrained")
    panels = figure.subplots(3, MAPPED)
    gray = images.shape[-1] == 1
    for column in range(MAPPED):
        for row, picture in ((0, images[column]), (2, made[column])):
            panels[row, column].imshow(
                picture.squeeze().clip(0, 1), cmap="gray" if gray else None, vmin=0, vmax=1
            )
        panels[1, column].imshow(order[codes[column]], cmap="turbo", vmin=0, vmax=len(order) - 1)
        panels[0, column].set_title(test.class_names[test.labels[column]], fontsize=9)
    for row, label in enumerate(("image", "codes", "reconstruction")):
        panels[row, 0].set_ylabel(label, fontsize=9)
    for axes in panels.ravel():
        axes.set(xticks=[], yticks=[])
    shape = " x ".join(map(str, codes.shape[1:]))
    figure.suptitle(f"{test.name}: {shape} codes of {len(order)}, similar codes in similar colors")
    figure.savefig(path, facecolor="white")


def draw_tsne(vqvae: keras_vq.VQVAE, test: ImageDataset, path: object) -> None:
    """Plots a t-SNE embedding of 50 principal components of the quantized latents."""
    some = test.take(QUERIES)
    latents = features(vqvae, some.images)
    reduced = PCA(min(50, *latents.shape), random_state=SEED).fit_transform(latents)
    perplexity = min(30.0, (len(reduced) - 1) / 3)
    plane = TSNE(random_state=SEED, perplexity=perplexity).fit_transform(reduced)
    plot_latent_space(
        plane,
        some.labels,
        path,
        title=f"{test.name}: quantized latents of {len(some)} test images, t-SNE",
        class_names=test.class_names,
    )


if __name__ == "__main__":
    main()
