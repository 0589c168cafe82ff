# %% [markdown]
# # VQ-VAE on MNIST: digits as 7 x 7 codes
#
# A VQ-VAE quantizes latents to the nearest vectors of a codebook, so that an image becomes a grid
# of integer codes. This notebook shows reconstructions, codebook usage and code maps.

# %% tags=["parameters"]
EPOCHS = 3
IMAGES = 60_000

# %%
import keras
from matplotlib import pyplot

import keras_vq

keras.utils.set_random_seed(0)
train = keras_vq.data.load("mnist", "train").take(IMAGES).images
test = keras_vq.data.load("mnist", "test").take(IMAGES).images

# %% [markdown]
# The model consists of encoder, quantizer and decoder. The codebook is updated by
# exponential moving averages (EMA), and dead codes are restarted.

# %%
encoder, decoder = keras_vq.networks.convolutional((28, 28, 1), filters=(32, 64), latent_dim=16)
codebook = keras_vq.EMACodebook(128, decay=0.95, restart=keras_vq.DeadCodeRestart())
model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(codebook=codebook), decoder)
model.compile(keras.optimizers.Adam(1e-3))
history = model.fit(
    train,
    batch_size=128,
    epochs=EPOCHS,
    callbacks=[
        keras_vq.callbacks.CodebookMonitor(),
        keras_vq.callbacks.ReconstructionGrid(test[:10], every=EPOCHS),
    ],
    verbose=2,
)

# %% [markdown]
# An image is encoded as 49 codes of 7 bits: 43 bytes instead of 784.

# %%
codes = model.encode(test)
figure, (left, right) = pyplot.subplots(1, 2, figsize=(6, 3))
left.imshow(test[0, ..., 0], cmap="gray", vmin=0, vmax=1)
right.imshow(codes[0], cmap="turbo", vmin=0, vmax=127)
left.set_title("a digit")
right.set_title("its codes")
for axes in (left, right):
    axes.set_axis_off()

# %% [markdown]
# The decoder needs only the codes.

# %%
keras_vq.plots.plot_samples(model.decode(codes[:10]))

# %% [markdown]
# Usage of the 128 codes:

# %%
import numpy as np

keras_vq.plots.plot_codebook_usage(np.bincount(codes.ravel(), minlength=128))
