"""The example of the README: a VQ-VAE on MNIST. Run: python -m recipes.quickstart."""

import keras_vq

train = keras_vq.data.load("mnist", "train").images  # float32 in [0, 1], (60000, 28, 28, 1)
test = keras_vq.data.load("mnist", "test").images

encoder, decoder = keras_vq.networks.convolutional((28, 28, 1), latent_dim=16)
model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(128), decoder)
model.compile("adam")
model.fit(train, batch_size=128, epochs=3, validation_data=test)

codes = model.encode(test)  # int32, (10000, 7, 7): 49 codes of 7 bits per image
images = model.decode(codes)  # float32, (10000, 28, 28, 1)
print("codes", codes.shape, "mean squared error", ((images - test) ** 2).mean())
keras_vq.plots.plot_reconstructions(test[:10], images[:10], filepath="reconstructions.png")
