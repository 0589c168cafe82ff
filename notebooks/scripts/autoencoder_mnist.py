# %% [markdown]
# # An autoencoder of digits
#
# 28 x 28 pixels become 16 numbers and pixels again. You will see digits above what comes back,
# what lies between two digits, and the 16 numbers of the test images drawn in a plane.

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
# An autoencoder is an encoder and a decoder. Any Keras layers will do; this pair is ready-made.

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
# The way from one digit to another, through the latent space.

# %%
steps = model.interpolate(test.images[:5], test.images[5:10], steps=8)
keras_vq.plots.plot_samples(steps.reshape(-1, 28, 28, 1), columns=8)

# %% [markdown]
# The latents of the test images, along the two directions in which they spread most. No label was
# used in training.

# %%
keras_vq.plots.plot_latent_space(
    model.encode(test.images[:5000]), test.labels[:5000], title="16 latents of MNIST's test images"
)

# %% [markdown]
# What is lost, as the mean squared error of pixels in [0, 1]:

# %%
made = model.reconstruct(test.images)
float(((made - test.images) ** 2).mean())
