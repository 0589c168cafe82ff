"""Tests of sequence models with zero-padded, masked sequences."""

import keras
import numpy as np
import pytest

import keras_vq
from keras_vq.networks import convolutional_sequence, recurrent_sequence, transformer_sequence

as_numpy = keras.ops.convert_to_numpy

LENGTHS = np.array([6, 9, 12, 1])
NETWORKS = {
    "recurrent": lambda: recurrent_sequence((12, 3), units=8, latent_dim=4, patch=3),
    "transformer": lambda: transformer_sequence(
        (12, 3), hidden_dim=8, num_layers=1, num_heads=2, patch=3
    ),
}


@pytest.fixture
def sequences(rng):
    is_given = np.arange(12) < LENGTHS[:, None]
    steps = (0.1 + rng.random((4, 12, 3), "float32")) * is_given[..., None]
    steps[2, 3:6] = 0.0  # a pause as long as a patch
    return steps


def vqvae(networks):
    encoder, decoder = networks
    return keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(8), decoder, data_variance=1.0)


@pytest.mark.parametrize("name", NETWORKS)
def test_masked_steps_have_no_effect(name, sequences):
    model = vqvae(NETWORKS[name]())
    # Otherwise Keras would build layers eagerly in each call.
    assert all(layer.built for layer in keras_vq.backend.nested_layers(model))
    codes = model.encode(sequences)
    assert np.array_equal(codes >= 0, np.arange(4) * 3 < LENGTHS[:, None])
    model.compile("adam")
    logs = model.evaluate(sequences, verbose=0, return_dict=True)
    made = model.reconstruct(sequences)
    # All steps of a patch with an unmasked step count.
    counts = np.repeat(codes >= 0, 3, axis=1)
    expected = np.square(made - sequences)[counts].mean()
    assert logs["reconstruction_loss"] == pytest.approx(expected, rel=1e-4)


PADDED = {
    "convolutional": lambda: convolutional_sequence(
        (11, 3), filters=(8, 8), latent_dim=4, pad=True
    ),
    "recurrent": lambda: recurrent_sequence((11, 3), units=8, latent_dim=4, patch=4, pad=True),
    "whole": lambda: recurrent_sequence((11, 3), units=8, patch=4, whole=True, pad=True),
    "transformer": lambda: transformer_sequence(
        (11, 3), hidden_dim=8, num_layers=1, num_heads=2, patch=4, pad=True
    ),
}


@pytest.mark.parametrize("name", PADDED)
def test_any_number_of_steps_with_padding(name, sequences):
    given = sequences[:, :11]
    pair = PADDED[name]()
    if name == "whole":
        model = keras_vq.Autoencoder(*pair)
    else:
        model = vqvae(pair)
        codes = model.encode(given)
        assert codes.shape == (4, 3)
        if name != "convolutional":
            assert np.array_equal(codes >= 0, np.arange(3) * 4 < LENGTHS[:, None])
    assert model.reconstruct(given).shape == given.shape
    model.compile("adam")
    logs = model.fit(given, batch_size=4, verbose=0).history
    assert np.isfinite(logs["loss"][0])
    again = type(model).from_config(model.get_config())
    assert again.input_shape == (None, 11, 3)


@pytest.mark.parametrize("name", ["recurrent", "transformer"])
def test_padded_steps_count_for_nothing(name, sequences):
    """The network with padding equals the network of padded sequences, without the added steps."""
    options = {"latent_dim": 4, "patch": 4}
    if name == "recurrent":
        odd, even = (recurrent_sequence((n, 3), 8, pad=True, **options) for n in (11, 12))
    else:
        options |= {"hidden_dim": 8, "num_layers": 1, "num_heads": 2}
        odd, even = (transformer_sequence((n, 3), pad=True, **options) for n in (11, 12))
    for one, other in zip(even, odd, strict=True):
        one.set_weights(other.get_weights())
    given = sequences[:, :11]
    padded = np.pad(given, [(0, 0), (0, 1), (0, 0)])
    latents = odd.encoder(given)
    np.testing.assert_allclose(as_numpy(latents), as_numpy(even.encoder(padded)), atol=1e-6)
    made = as_numpy(odd.decoder(latents))
    np.testing.assert_allclose(made, as_numpy(even.decoder(latents))[:, :11], atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_codes_say_all_that_the_decoder_needs(name, sequences):
    encoder, decoder = NETWORKS[name]()
    levels = [keras_vq.VectorQuantizer(8) for _ in range(2)]
    model = keras_vq.VQVAE(encoder, keras_vq.ResidualQuantizer(levels), decoder)
    codes = model.encode(sequences)
    made, counts = model.decode(codes), codes.repeat(3, axis=1)[..., 0] >= 0
    np.testing.assert_allclose(made[counts], model.reconstruct(sequences)[counts], atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_neighbors_in_the_batch_change_nothing(name, sequences):
    model = vqvae(NETWORKS[name]())
    alone = model.reconstruct(sequences[:1])
    np.testing.assert_allclose(model.reconstruct(sequences)[:1], alone, atol=1e-5)


@pytest.mark.parametrize("name", [*NETWORKS, "convolutional"])
def test_training_goes_down_and_files_come_back(name, sequences, tmp_path):
    if name == "convolutional":
        model = vqvae(convolutional_sequence((12, 3), filters=(8, 8), latent_dim=4))
    else:
        model = vqvae(NETWORKS[name]())
    model.compile(keras.optimizers.Adam(1e-2))
    losses = model.fit(sequences, epochs=30, batch_size=4, verbose=0).history
    assert losses["reconstruction_loss"][-1] < 0.7 * losses["reconstruction_loss"][0]
    model.save(tmp_path / "model.keras")
    again = keras_vq.load_model(tmp_path / "model.keras")
    assert np.array_equal(again.encode(sequences), model.encode(sequences))


def test_a_vae_of_one_vector_for_all_steps(sequences):
    encoder, decoder = recurrent_sequence((12, 3), units=8, latent_dim=None, whole=True)
    # The loss is a mean over the values of a sequence, so the KL divergence is scaled alike.
    model = keras_vq.VAE(encoder, decoder, latent_dim=8, beta=1 / 36, seed=0)
    assert model.encode(sequences).shape == (4, 8)
    model.compile(keras.optimizers.Adam(1e-2), loss="mean_squared_error")
    weights = (np.arange(12) < LENGTHS[:, None]).astype("float32")
    losses = model.fit(
        sequences, sequences, sample_weight=weights, epochs=20, batch_size=4, verbose=0
    ).history["reconstruction_loss"]
    assert losses[-1] < 0.8 * losses[0]
    assert model.generate(3, seed=0).shape == (3, 12, 3)


@pytest.mark.backend_free
@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: convolutional_sequence((10, 1)), "divisible by 4"),
        (
            lambda: recurrent_sequence((10, 1), patch=3),
            "Pass `pad=True` to pad the sequences to 12 steps",
        ),
        (lambda: transformer_sequence((10,)), "must be \\(steps, channels\\)"),
        (lambda: recurrent_sequence((10, 1), patch=0), "`patch` must be"),
        (lambda: keras_vq.layers.SequencePatches(3)(np.zeros((1, 4, 2))), "divisible by `size`"),
        (lambda: keras_vq.layers.PatchSteps(3)(np.zeros((1, 4, 2))), "divisible by `size`"),
    ],
)
def test_shapes_that_do_not_fit(build, message):
    with pytest.raises(ValueError, match=message):
        build()
