# %% [markdown]
# # Variational autoencoder (VAE) on MNIST
#
# The latents of a VAE follow a Gaussian distribution, so random latents decode to new images. This
# notebook shows samples and latent traversals.

# %% tags=["parameters"]
EPOCHS = 10
IMAGES = 60_000

# %%
import keras
import numpy as np

import keras_vq

keras.utils.set_random_seed(0)
train = keras_vq.data.load("mnist", "train").take(IMAGES).images
test = keras_vq.data.load("mnist", "test").take(IMAGES).images

# %%
maps = keras_vq.networks.convolutional((28, 28, 1), latent_dim=None, output_activation="sigmoid")
model = keras_vq.VAE(*keras_vq.networks.flat_latent(maps, None), latent_dim=16)
steps = EPOCHS * -(-len(train) // 128)
model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, steps)))
history = model.fit(train, batch_size=128, epochs=EPOCHS, validation_data=(test, None), verbose=2)

# %% [markdown]
# The loss is the negative evidence lower bound (ELBO) in nats: reconstruction loss
# plus KL divergence from the standard normal distribution.

# %%
keras_vq.plots.plot_history(history)

# %% [markdown]
# Samples: decoded random latents.

# %%
keras_vq.plots.plot_samples(model.generate(40, seed=0), title="drawn from the standard normal")

# %% [markdown]
# A Gaussian mixture fitted to the latents of the training images gives better samples.

# %%
mixture = keras_vq.priors.GaussianMixturePrior(10, seed=0)
mixture.fit(model.sample_latents(train, seed=0))
keras_vq.plots.plot_samples(model.generate(40, mixture, seed=0), title="drawn from the mixture")

# %% [markdown]
# Latent traversals of the latents with the highest KL divergence.

# %%
latents = model.encode(test)
order = np.argsort(latents.std(axis=0))[::-1][:6].tolist()
keras_vq.plots.plot_traversal(model.traverse(latents[0], order), order)
