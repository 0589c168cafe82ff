"""Tests of VQGAN: gradients, adaptive weight, discriminator start and optimizers."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_vq
from tests.gradients import gradients
from tests.models.checks import assert_same, weights_of

SHAPE = (8, 8, 1)
BACKEND = keras.backend.backend()


def features():
    pixels = keras.Input(SHAPE)
    first = keras.layers.Conv2D(3, 3, activation="relu")(pixels)
    return keras.Model(pixels, [first, keras.layers.Conv2D(4, 3)(first)])


def build(feature_network=None, **arguments):
    keras.utils.set_random_seed(3)
    encoder, decoder = keras_vq.networks.convolutional(SHAPE, filters=(4,), latent_dim=2)
    discriminator = keras_vq.networks.patch_discriminator(SHAPE, filters=(4, 6))
    # Larger weights give an adversarial gradient of relevant size.
    for weight in discriminator.trainable_weights:
        weight.assign(8.0 * ops.convert_to_tensor(weight))
    quantizer = keras_vq.VectorQuantizer(codebook=keras_vq.GradientCodebook(8))
    return keras_vq.VQGAN(
        encoder,
        quantizer,
        decoder,
        discriminator,
        feature_network() if feature_network else None,
        data_variance=0.1,
        **arguments,
    )


def generator_weights(model):
    ids = {id(weight) for weight in model.discriminator.trainable_weights}
    return [weight for weight in model.trainable_weights if id(weight) not in ids]


def values(weights):
    return [np.array(ops.convert_to_numpy(weight)) for weight in weights]


@pytest.fixture(scope="module")
def inputs():
    return np.random.default_rng(0).random((6, *SHAPE), "float32")


# --- gradients, against reference losses of generator and discriminator


def by_hand(model, images):
    """Computes λ and the gradients of generator and discriminator from the paper."""
    quantizer = model.quantizer
    is_hinge = isinstance(model.adversarial_loss, keras_vq.losses.HingeAdversarialLoss)

    def of_length_one(vectors):
        return vectors / ops.sqrt(ops.sum(vectors**2, axis=-1, keepdims=True) + 1e-10)

    def generator_terms(images):
        images = ops.convert_to_tensor(images)
        z = model.encoder(images)
        nearest = ops.take(quantizer.codebook.code_vectors(), quantizer.encode(z), axis=0)
        committed = 0.25 * ops.mean((z - ops.stop_gradient(nearest)) ** 2)
        quantization = committed + ops.mean((ops.stop_gradient(z) - nearest) ** 2)
        made = model.decoder(z + ops.stop_gradient(nearest - z), training=True)
        likeness = ops.mean((images - made) ** 2) / 0.1
        if model.feature_network is not None:
            pairs = zip(model.feature_network(images), model.feature_network(made), strict=True)
            likeness = likeness + model.perceptual_loss_weight * sum(
                ops.mean(ops.sum((of_length_one(one) - of_length_one(other)) ** 2, axis=-1))
                for one, other in pairs
            )
        fake = model.discriminator(made)
        verdict = -ops.mean(fake) if is_hinge else -ops.mean(ops.log_sigmoid(fake))
        return made, likeness, quantization, verdict

    kernel = [model.decoder.layers[-2].kernel]
    likeness, verdict = (
        gradients(lambda x, term=term: generator_terms(x)[term], images, kernel)[1]
        for term in (1, 3)
    )
    weight = np.linalg.norm(likeness) / (np.linalg.norm(verdict) + 1e-4)

    def generator(images):
        _, likeness, quantization, verdict = generator_terms(images)
        return likeness + quantization + model.adversarial_loss_weight * weight * verdict

    made = ops.convert_to_numpy(generator_terms(images)[0])

    def discriminator(images):
        real, fake = model.discriminator(images), model.discriminator(made)
        if is_hinge:
            return ops.mean(ops.relu(1 - real)) / 2 + ops.mean(ops.relu(1 + fake)) / 2
        return -ops.mean(ops.log_sigmoid(real)) / 2 - ops.mean(ops.log_sigmoid(-fake)) / 2

    return (
        weight,
        gradients(generator, images, generator_weights(model))[1:],
        gradients(discriminator, images, model.discriminator.trainable_weights)[1:],
    )


@pytest.mark.parametrize(
    ("network", "adversarial_loss"), [(None, "hinge"), (features, "non_saturating")]
)
def test_each_player_has_the_gradient_of_its_own_loss(network, adversarial_loss, inputs):
    model = build(
        network,
        perceptual_loss_weight=0.7,
        adversarial_loss_weight=0.5,
        adversarial_loss=adversarial_loss,
    )
    weight, of_generator, of_discriminator = by_hand(model, inputs)
    assert 1e-3 < weight < 1e3
    # An SGD step with rate 1 is the gradient.
    model.compile(keras.optimizers.SGD(1.0), discriminator_optimizer=keras.optimizers.SGD(0.5))
    players = generator_weights(model), model.discriminator.trainable_weights
    before = [values(weights) for weights in players]
    logs = model.train_on_batch(inputs, return_dict=True)
    assert logs["adaptive_weight"] == pytest.approx(weight, rel=1e-3)
    for weights, old, expected, rate in zip(
        players, before, (of_generator, of_discriminator), (1.0, 0.5), strict=True
    ):
        for variable, start, gradient in zip(weights, old, expected, strict=True):
            moved = (start - ops.convert_to_numpy(variable)) / rate
            size = np.abs(gradient).max()
            assert size > 0, variable.path
            np.testing.assert_allclose(
                moved, gradient, atol=1e-3 * size + 1e-6, err_msg=variable.path
            )


def test_adaptive_weight_has_a_limit(inputs):
    model = build()
    for weight in model.discriminator.trainable_weights:
        weight.assign(ops.zeros_like(ops.convert_to_tensor(weight)))
    latents, inputs = model.encode_quantized(inputs), ops.convert_to_tensor(inputs)
    found = float(model._adaptive_weight(inputs, ops.convert_to_tensor(latents)))
    # With a zero adversarial gradient: the reconstruction gradient over 10⁻⁴, at most 10⁴.
    kernel = [model.decoder.layers[-2].kernel]
    (_, by_kernel) = gradients(
        lambda z: ops.mean((inputs - model.decoder(z)) ** 2) / 0.1, latents, kernel
    )
    assert found == pytest.approx(min(np.linalg.norm(by_kernel) / 1e-4, 1e4), rel=1e-4)


# --- discriminator start


def test_discriminator_comes_in_after_its_start(inputs):
    def steps(**arguments):
        model = build(discriminator_start=2, **arguments)
        model.compile(keras.optimizers.Adam(1e-2))
        weights = []
        for _ in range(3):
            model.train_on_batch(inputs)
            players = generator_weights(model), model.discriminator.trainable_weights
            weights.append([values(player) for player in players])
        return weights

    start = values(build().discriminator.trainable_weights)
    with_verdict, without = steps(adversarial_loss_weight=1.0), steps(adversarial_loss_weight=0.0)
    for step in (0, 1):
        assert_same(with_verdict[step][1], start)
        assert_same(with_verdict[step][0], without[step][0])
    for player, others in ((1, start), (0, without[2][0])):
        assert any((a != b).any() for a, b in zip(with_verdict[2][player], others, strict=True))


# --- trained weights and their optimizers


def test_feature_network_is_frozen(inputs):
    model = build(features)
    model.compile(keras.optimizers.Adam(1e-2))
    before = weights_of(model.feature_network)
    model.train_on_batch(inputs)
    assert_same(weights_of(model.feature_network), before)
    assert len(model.trainable_weights) == len(generator_weights(model)) + len(
        model.discriminator.trainable_weights
    )


def test_perceptual_gradient_of_features_of_zero_is_finite(inputs):
    model = build(features)
    for weight in model.feature_network.weights:
        weight.assign(ops.zeros_like(ops.convert_to_tensor(weight)))
    (found,) = gradients(lambda made: model._perceptual_loss(inputs, made), 0.5 * inputs)
    assert np.isfinite(found).all()


def test_optimizers(inputs):
    model = build()
    model.compile(keras.optimizers.Adam(1e-2, beta_1=0.5))
    pair = model.optimizer
    name = {"name": f"discriminator_{pair.generator.name}"}
    assert pair.discriminator.get_config() == {**pair.generator.get_config(), **name}
    before = weights_of(model.decoder), weights_of(model.discriminator)
    pair.generator.learning_rate = 0.0
    model.train_on_batch(inputs)
    assert_same(weights_of(model.decoder), before[0])
    assert any(
        (a != b).any() for a, b in zip(weights_of(model.discriminator), before[1], strict=True)
    )
    # Iterations, learning rate, and two moments per weight.
    assert len(pair.discriminator.variables) == 2 + 2 * len(model.discriminator.trainable_weights)


def test_callbacks_set_both_learning_rates(inputs):
    model = build()
    model.compile(keras.optimizers.Adam(1e-2))
    before = values(model.trainable_weights)
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch: 0.0)
    history = model.fit(inputs, callbacks=[schedule], verbose=0).history
    assert_same(values(model.trainable_weights), before)
    for optimizer in (model.optimizer.generator, model.optimizer.discriminator):
        assert history[f"learning_rate_{optimizer.name}"] == [0.0]


MODES = {"tensorflow": [{"jit_compile": True}], "jax": [{"jit_compile": False}]}


@pytest.mark.parametrize("mode", MODES.get(BACKEND, [{"run_eagerly": True}]), ids=str)
def test_modes_of_compilation_train_alike(mode, inputs):
    found = []
    for options in ({}, mode):
        model = build(features)
        model.compile(keras.optimizers.SGD(0.1), **options)
        logs = model.train_on_batch(inputs, return_dict=True)
        found.append((logs, weights_of(model)))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-4)
    assert_same(found[0][1], found[1][1], atol=1e-5)


def trains_one_filter_in_bfloat16():
    """Returns whether Keras's own convolution to one channel has gradients in bfloat16.

    PyTorch refuses them on processors without bfloat16 units. A patch discriminator ends in one.
    """
    layer = keras.layers.Conv2D(1, 3, dtype="mixed_bfloat16")
    images = np.ones((1, 3, 3, 2), "float32")
    layer.build(images.shape)
    try:
        gradients(lambda x: ops.sum(layer(x)), images, layer.trainable_weights)
    except RuntimeError:
        return False
    return True


def test_bfloat16_trains(inputs):
    if not trains_one_filter_in_bfloat16():
        pytest.skip("PyTorch has no such gradient on this processor")
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = build(features)
    model.compile(keras.optimizers.Adam(1e-2))
    before = weights_of(model)
    logs = model.train_on_batch(inputs, return_dict=True)
    assert np.isfinite(list(logs.values())).all()
    assert 0 < logs["adaptive_weight"] < 1e4
    assert any((a != b).any() for a, b in zip(weights_of(model), before, strict=True))


def test_sample_weights_and_targets(inputs):
    model = build()
    model.compile("sgd", loss="mse")
    weights = np.array([0, 1, 3, 0, 0, 0], "float32")
    negatives = 1 - inputs
    logs = model.test_on_batch(inputs, negatives, sample_weight=weights, return_dict=True)
    errors = ((negatives - model.reconstruct(inputs)) ** 2).mean(axis=(1, 2, 3))
    assert logs["reconstruction_loss"] == pytest.approx((weights * errors).mean(), rel=1e-4)
    real, fake = (
        ops.convert_to_numpy(model.discriminator(images))
        for images in (negatives, model.reconstruct(inputs))
    )
    expected = (np.maximum(1 - real, 0).mean() + np.maximum(1 + fake, 0).mean()) / 2
    assert logs["discriminator_loss"] == pytest.approx(expected, rel=1e-4)


# --- invalid arguments


def test_bad_arguments():
    for arguments, text in [
        ({"perceptual_loss_weight": -1.0}, "must be a finite non-negative number"),
        (
            {"adversarial_loss_weight": np.nan},
            "`adversarial_loss_weight` must be a finite non-negative number",
        ),
        ({"discriminator_start": -3}, "`discriminator_start` must be a non-negative integer"),
        ({"adversarial_loss": "wgan"}, "`adversarial_loss` must be one of .*Received: 'wgan'"),
        ({"feature_network": lambda: 3}, "`feature_network` must be a Keras layer or model"),
    ]:
        with pytest.raises(ValueError, match=text):
            build(**arguments)
    encoder, decoder = keras_vq.networks.convolutional(SHAPE, filters=(4,), latent_dim=2)
    quantizer = keras_vq.VectorQuantizer(8)
    with pytest.raises(ValueError, match="`discriminator` must be a Keras layer or model"):
        keras_vq.VQGAN(encoder, quantizer, decoder, None)
    identity = keras.layers.Identity()
    with pytest.raises(ValueError, match=r"`decoder` must have a layer with a kernel"):
        keras_vq.VQGAN(encoder, keras_vq.VectorQuantizer(8), identity, identity)


def test_bad_compilation():
    model = build()
    optimizer = keras.optimizers.Adam()
    with pytest.raises(ValueError, match="must be a separate optimizer"):
        model.compile(optimizer, discriminator_optimizer=optimizer)
    keras.config.set_dtype_policy("mixed_float16")
    with pytest.raises(ValueError, match=r"'mixed_bfloat16' or .*Received: 'mixed_float16'"):
        build().compile("adam")
