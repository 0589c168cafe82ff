import keras
import numpy as np
import pytest
from keras import ops

import keras_vq
from keras_vq.layers import StraightThroughClip
from tests.gradients import gradients


@pytest.mark.parametrize("training", [True, False])
def test_values_lie_in_the_interval(training, rng):
    inputs = rng.normal(scale=100, size=(50, 3)).astype("float32")
    outputs = ops.convert_to_numpy(StraightThroughClip()(inputs, training=training))
    np.testing.assert_array_equal(outputs, np.clip(inputs, 0, 1))
    wider = ops.convert_to_numpy(StraightThroughClip(-1, 2.5)(inputs, training=training))
    np.testing.assert_array_equal(wider, np.clip(inputs, -1, 2.5))


def test_clipped_values_have_the_gradient_of_the_outputs():
    inputs = np.array([-5.0, -0.1, 0.5, 3.0], "float32")
    target = np.array([0.0, 1.0, 0.0, 0.25], "float32")
    clip = StraightThroughClip()

    def error(x):
        made = clip(x, training=True)
        return ops.sum(ops.square(made - ops.convert_to_tensor(target))) / 2

    (found,) = gradients(error, inputs)
    np.testing.assert_allclose(found, np.clip(inputs, 0, 1) - target, atol=1e-6)


def test_what_is_outside_is_not_driven_further_out():
    inputs = np.array([-5.0, -5.0, 0.0, 0.5, 1.0, 3.0, 3.0], "float32")
    slopes = np.array([2.0, -2.0, 2.0, 2.0, -2.0, 2.0, -2.0], "float32")
    clip = StraightThroughClip()
    (found,) = gradients(
        lambda x: ops.sum(clip(x, training=True) * ops.convert_to_tensor(slopes)), inputs
    )
    # Gradient descent increases inputs with a negative gradient.
    np.testing.assert_array_equal(found, [0.0, -2.0, 2.0, 2.0, -2.0, 2.0, 0.0])


def test_shape_mask_and_config():
    clip = StraightThroughClip(-1.0, 1.0, name="pixels")
    assert clip(keras.Input((None, 7, 4))).shape == (None, None, 7, 4)
    assert clip.supports_masking
    again = StraightThroughClip.from_config(clip.get_config())
    assert (again.low, again.high, again.name) == (-1.0, 1.0, "pixels")


def test_bad_arguments():
    with pytest.raises(
        ValueError, match=r"`high` must be greater than `low`\. Received: low=1, high=1"
    ):
        StraightThroughClip(1, 1)
    with pytest.raises(ValueError, match=r"`low` must be a finite number\. Received: nan"):
        StraightThroughClip(float("nan"))


@pytest.mark.parametrize("activation", ["clip", "sigmoid"])
def test_dark_images_kill_a_sigmoid_but_not_a_clip(activation, rng):
    """With a high learning rate outputs become black, and a saturated sigmoid stays black."""
    images = np.zeros((512, 16, 16, 1), "float32")
    for image, (row, column) in zip(images, rng.integers(0, 12, (512, 2)), strict=True):
        image[row : row + 4, column : column + 4] = 1.0
    keras.utils.set_random_seed(0)
    maps = keras_vq.networks.residual_convolutional(
        (16, 16, 1), filters=(16, 16), latent_dim=None, output_activation=activation
    )
    model = keras_vq.Autoencoder(*keras_vq.networks.flat_latent(maps, 8))
    model.compile(keras.optimizers.Adam(1e-2))
    model.fit(images, batch_size=32, epochs=6, shuffle=False, verbose=0)
    is_black = model.reconstruct(images).max() < 1e-3
    assert is_black == (activation == "sigmoid")
