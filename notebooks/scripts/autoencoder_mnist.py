# %% [markdown]
# # Autoencoder on MNIST
#
# Compresses 28 x 28 pixels to 16 latents. This notebook shows reconstructions, an interpolation
# between two digits, and a plot of the latent space.

# %% tags=["parameters"]
EPOCHS = 3
IMAGES = 60_000

# %%
import keras

import keras_vq

keras.utils.set_random_seed(0)
train = keras_vq.data.load("mnist", "train").take(IMAGES)
test = keras_vq.data.load("mnist", "test").take(IMAGES)
train

# %% [markdown]
# An autoencoder consists of an encoder and a decoder. Any Keras layers work; this pair comes with
# the package.

# %%
maps = keras_vq.networks.convolutional((28, 28, 1), filters=(32, 64), latent_dim=None)
model = keras_vq.Autoencoder(*keras_vq.networks.flat_latent(maps, latent_dim=16))
model.compile(keras.optimizers.Adam(3e-3))
history = model.fit(
    train.images,
    batch_size=128,
    epochs=EPOCHS,
    validation_data=(test.images, None),
    callbacks=[keras_vq.callbacks.ReconstructionGrid(test.images[:10], every=EPOCHS)],
    verbose=2,
)

# %% [markdown]
# Interpolation between two digits in the latent space.

# %%
steps = model.interpolate(test.images[:5], test.images[5:10], steps=8)
keras_vq.plots.plot_samples(steps.reshape(-1, 28, 28, 1), columns=8)

# %% [markdown]
# The first two principal components of the latents of the test images. Training did not use labels.

# %%
keras_vq.plots.plot_latent_space(
    model.encode(test.images[:5000]), test.labels[:5000], title="16 latents of MNIST's test images"
)

# %% [markdown]
# The mean squared error for pixels in [0, 1]:

# %%
made = model.reconstruct(test.images)
float(((made - test.images) ** 2).mean())
