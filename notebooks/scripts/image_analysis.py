# %% [markdown]
# # Feature learning with a VQ-VAE
#
# A VQ-VAE is trained without labels. This notebook evaluates its quantized latents as features with
# a linear probe, nearest neighbors and clustering, and shows code maps of images.

# %% tags=["parameters"]
IMAGES = 10_000

# %%
import numpy as np
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import normalized_mutual_info_score
from sklearn.neighbors import NearestNeighbors

import keras_vq

model = keras_vq.VQVAE.from_preset("vqvae_mnist")
train = keras_vq.data.load("mnist", "train").take(IMAGES)
test = keras_vq.data.load("mnist", "test").take(IMAGES)
features = {
    "pixels": (train.images, test.images),
    "quantized latents": (
        model.encode_quantized(train.images),
        model.encode_quantized(test.images),
    ),
}
features = {
    name: (a.reshape(len(a), -1), b.reshape(len(b), -1)) for name, (a, b) in features.items()
}

# %% [markdown]
# ## A linear probe
#
# Test accuracy of a logistic regression.

# %%
for name, (of_train, of_test) in features.items():
    scale = of_train.std()
    probe = LogisticRegression(C=0.1, max_iter=200, tol=1e-3).fit(of_train / scale, train.labels)
    print(f"{name}: {100 * probe.score(of_test / scale, test.labels):.1f} %")

# %% [markdown]
# ## Nearest neighbors
#
# Each row shows a test image and the training images with the nearest latents.

# %%
of_train, of_test = features["quantized latents"]
nearest = NearestNeighbors(n_neighbors=9).fit(of_train).kneighbors(of_test[:5])[1]
rows = np.concatenate([test.images[:5, None], train.images[nearest]], axis=1)
keras_vq.plots.plot_samples(rows.reshape(-1, 28, 28, 1))

# %% [markdown]
# ## Clusters
#
# Normalized mutual information of ten k-means clusters and the labels: 1 for equal partitions.

# %%
for name, (_, of_test) in features.items():
    clusters = KMeans(10, n_init=3, random_state=0).fit_predict(of_test)
    print(f"{name}: {normalized_mutual_info_score(test.labels, clusters):.2f}")

# %% [markdown]
# ## Latent space

# %%
keras_vq.plots.plot_latent_space(of_test[:5000], test.labels[:5000], title="quantized latents")

# %% [markdown]
# ## Code maps
#
# Below each digit are its 7 x 7 codes. Similar code vectors have similar colors: they are sorted by
# the first principal component of the codebook.

# %%
from matplotlib import pyplot
from sklearn.decomposition import PCA

vectors = np.asarray(model.quantizer.decode(np.arange(model.codebook_sizes[0], dtype="int32")))
order = np.argsort(np.argsort(PCA(1).fit_transform(vectors)[:, 0]))
codes = model.encode(test.images[:8])
figure, panels = pyplot.subplots(2, 8, figsize=(10, 2.7))
for (above, below), image, grid in zip(panels.T, test.images, codes, strict=False):
    above.imshow(image, cmap="gray", vmin=0, vmax=1)
    below.imshow(order[grid], cmap="turbo", vmin=0, vmax=len(order) - 1)
    above.set_axis_off()
    below.set_axis_off()
