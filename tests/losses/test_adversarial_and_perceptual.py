import keras
import numpy as np
import pytest
from keras import ops

from keras_vq.losses import (
    AdversarialLoss,
    HingeAdversarialLoss,
    NonSaturatingAdversarialLoss,
    PerceptualLoss,
)
from keras_vq.losses.adversarial import as_adversarial_loss


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def hinge(real, fake):
    made = np.maximum(1 - real, 0).mean() + np.maximum(1 + fake, 0).mean()
    return -fake.mean(), made / 2


def cross_entropy(real, fake):
    made = np.log(sigmoid(real)).mean() + np.log(1 - sigmoid(fake)).mean()
    return -np.log(sigmoid(fake)).mean(), -made / 2


@pytest.mark.parametrize(
    ("loss", "reference"),
    [(HingeAdversarialLoss(), hinge), (NonSaturatingAdversarialLoss(), cross_entropy)],
)
def test_adversarial_losses_equal_numpy(loss, reference, rng):
    real, fake = rng.normal(size=(2, 5, 3, 3, 1)).astype("float32")
    found = loss.generator(fake), loss.discriminator(real, fake)
    np.testing.assert_allclose([float(value) for value in found], reference(real, fake), rtol=1e-5)


def test_adversarial_losses_by_name_and_configuration():
    loss = as_adversarial_loss("non_saturating")
    assert isinstance(loss, NonSaturatingAdversarialLoss)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert type(again) is type(loss)
    assert as_adversarial_loss(loss) is loss
    with pytest.raises(ValueError, match=r"must be one of \('hinge', 'non_saturating'\)"):
        as_adversarial_loss("wgan")
    with pytest.raises(NotImplementedError):
        AdversarialLoss().generator(np.zeros(3))


def network():
    pixels = keras.Input((6, 6, 2))
    first = keras.layers.Conv2D(3, 3)(pixels)
    return keras.Model(pixels, [first, keras.layers.Conv2D(4, 3)(first)])


def test_perceptual_loss_equals_numpy(rng):
    loss = PerceptualLoss(network())
    x, y = rng.random((2, 4, 6, 6, 2)).astype("float32")
    expected = np.zeros(4)
    for one, other in zip(loss.feature_network(x), loss.feature_network(y), strict=True):
        one, other = (
            features / np.sqrt((features**2).sum(axis=-1, keepdims=True) + 1e-10)
            for features in (ops.convert_to_numpy(one), ops.convert_to_numpy(other))
        )
        expected += ((one - other) ** 2).sum(axis=-1).mean(axis=(1, 2))
    found = ops.convert_to_numpy(loss.call(x, y))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert float(loss(x, y)) == pytest.approx(expected.mean(), rel=1e-4)
    assert loss.feature_network.trainable_weights == []


def test_perceptual_loss_of_a_configuration():
    loss = PerceptualLoss(keras.layers.Conv2D(4, 3), reduction="sum")
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is PerceptualLoss
    assert (again.reduction, again.feature_network.filters) == ("sum", 4)
    with pytest.raises(ValueError, match="`feature_network` must be a Keras layer"):
        PerceptualLoss(len)
