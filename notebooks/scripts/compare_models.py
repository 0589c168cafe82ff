# %% [markdown]
# # Autoencoder, VAE, VQ-VAE and GAN, side by side
#
# Four models of digits with the same budget. You will see what each makes of test images, and new
# images of each. `recipes/compare_models.py` has the table, on two data sets.

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
# ## What comes back

# %%
rows = {"test images": test[:10]}
rows |= {name: model.reconstruct(test[:10]) for name, model in models.items() if name != "DCGAN"}
keras_vq.plots.plot_rows(rows)

# %% [markdown]
# ## What is new
#
# The VAE draws from the standard normal, the GAN from noise. The autoencoder needs a mixture of
# Gaussians fitted to its latents.

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
# The VQ-VAE needs a prior of its codes: the notebook *generation* fits one.
