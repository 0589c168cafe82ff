# %% [markdown]
# # VQ-VAE on CIFAR-10: 8 x 8 codes of 9 bits
#
# Compresses 3,072 bytes to 72 and shows reconstructions. The pixels may come from a JPEG copy of
# the data set.

# %% tags=["parameters"]
EPOCHS = 4
IMAGES = 50_000

# %%
import keras

import keras_vq

keras.utils.set_random_seed(0)
train = keras_vq.data.load("cifar10", "train").take(IMAGES).images
test = keras_vq.data.load("cifar10", "test").take(IMAGES).images
print(f"variance of the pixels: {train.var():.4f}")

# %% [markdown]
# The network is that of the DeepMind notebook. The codebook uses cosine similarity in
# 8 dimensions and dead-code restart; `recipes/vqvae_cifar10.py` measures the effect of both.

# %%
encoder, decoder = keras_vq.networks.residual_convolutional((32, 32, 3))
codebook = keras_vq.EMACodebook(512, restart=keras_vq.DeadCodeRestart())
quantizer = keras_vq.ProjectedQuantizer(
    keras_vq.VectorQuantizer(codebook=codebook, metric="cosine"), 8
)
model = keras_vq.VQVAE(encoder, quantizer, decoder)
steps = EPOCHS * -(-len(train) // 64)
model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, steps)))
history = model.fit(
    train,
    batch_size=64,
    epochs=EPOCHS,
    callbacks=[keras_vq.callbacks.ReconstructionGrid(test[:10], every=EPOCHS)],
    verbose=2,
)

# %%
keras_vq.plots.plot_history(history)

# %% [markdown]
# PSNR in decibels and structural similarity on all test images.

# %%
made = model.reconstruct(test).clip(0, 1)
psnr, ssim = keras_vq.metrics.PSNR(), keras_vq.metrics.SSIM()
for start in range(0, len(test), 500):
    psnr.update_state(test[start : start + 500], made[start : start + 500])
    ssim.update_state(test[start : start + 500], made[start : start + 500])
print(f"PSNR {float(psnr.result()):.2f} dB, SSIM {float(ssim.result()):.3f}")
