# %% [markdown]
# # Image generation with a Transformer prior
#
# A VQ-VAE alone cannot generate images, because random codes decode to noise. This notebook shows
# that noise, samples of a Transformer prior over codes, and class-conditional samples.

# %% tags=["parameters"]
EPOCHS = 4
IMAGES = 60_000

# %%
import keras
import numpy as np

import keras_vq

keras.utils.set_random_seed(0)
train = keras_vq.data.load("mnist", "train").take(IMAGES)
test = keras_vq.data.load("mnist", "test").take(IMAGES)
vqvae = keras_vq.VQVAE.from_preset("vqvae_mnist")

# %%
random_codes = np.random.default_rng(0).integers(0, 128, (20, 7, 7))
keras_vq.plots.plot_samples(vqvae.decode(random_codes), title="random codes")

# %% [markdown]
# `fit_codes` encodes the images once and trains on their codes.

# %%
prior = keras_vq.priors.TransformerPrior.for_model(vqvae, num_classes=10, num_layers=3)
steps = EPOCHS * -(-len(train) // 128)
prior.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-3, steps)))
history = prior.fit_codes(
    vqvae, train.images, train.labels, epochs=EPOCHS, batch_size=128, verbose=2
)

# %%
keras_vq.plots.plot_samples(vqvae.generate(40, prior, seed=0), title="anything")

# %%
labels = np.repeat(np.arange(10), 5).reshape(10, 5).T.ravel()
images = vqvae.generate(50, prior, labels=labels, guidance=2.0, seed=0)
keras_vq.plots.plot_samples(images, title="0 to 9, as asked")

# %% [markdown]
# Bits per image: with an ideal arithmetic coder, and packed.

# %%
codes = vqvae.encode(test.images)
print(f"{prior.bits_per_input(codes, test.labels):.1f} bits; packed {codes[0].size * 7}")
