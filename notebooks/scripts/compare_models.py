# %% [markdown]
# # Comparison of autoencoder, VAE, VQ-VAE and GAN
#
# Trains four models on MNIST with equal budgets and shows their reconstructions and samples.
# `recipes/compare_models.py` computes the table for two data sets.

# %% tags=["parameters"]
EPOCHS = 4
IMAGES = 60_000

# %%
import keras_vq
from recipes._compared import compared

train = keras_vq.data.load("mnist", "train").take(IMAGES)
test = keras_vq.data.load("mnist", "test").take(IMAGES).images
models = {
    name: compared("mnist", name, train, IMAGES, EPOCHS)[0]
    for name in ("autoencoder", "VAE", "VQ-VAE", "DCGAN")
}

# %% [markdown]
# ## Reconstructions

# %%
rows = {"test images": test[:10]}
rows |= {name: model.reconstruct(test[:10]) for name, model in models.items() if name != "DCGAN"}
keras_vq.plots.plot_rows(rows)

# %% [markdown]
# ## Samples
#
# The VAE samples from the standard normal distribution, the GAN from noise, and the autoencoder
# from a Gaussian mixture fitted to its latents.

# %%
mixture = keras_vq.priors.GaussianMixturePrior(10, seed=0)
mixture.fit(models["autoencoder"].encode(train.images))
keras_vq.plots.plot_rows(
    {
        "autoencoder, mixture": models["autoencoder"].generate(10, mixture, seed=0),
        "VAE": models["VAE"].generate(10, seed=0),
        "DCGAN": models["DCGAN"].generate(10, seed=0),
    }
)

# %% [markdown]
# The VQ-VAE needs a prior over its codes: see the notebook *generation*.
