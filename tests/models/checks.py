"""Checks that every model in `cases.py` must pass."""

from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
from keras import ops

import keras_vq
from tests.models.cases import ModelCase

# --- models


class Fitted(NamedTuple):
    """Model of a case after `fit`, shared by checks that must not modify it."""

    case: ModelCase
    model: Any
    history: dict[str, list[float]]
    images: np.ndarray
    held_out: np.ndarray
    checkpoints: Path


FIT = {"batch_size": 64, "shuffle": False, "verbose": 0}
EPOCHS = 3
CHECKPOINT = "after_epoch_{epoch}.keras"


def fit_case(
    case: ModelCase, images: np.ndarray, held_out: np.ndarray, checkpoints: Path
) -> Fitted:
    """Fits the model of a case and saves a checkpoint after every epoch."""
    keras.utils.set_random_seed(1)
    model = case.build()
    model.compile(keras.optimizers.Adam(3e-3))
    save = keras.callbacks.ModelCheckpoint(checkpoints / CHECKPOINT)
    history = model.fit(
        images, epochs=EPOCHS, validation_data=(held_out, None), callbacks=[save], **FIT
    )
    return Fitted(case, model, history.history, images, held_out, checkpoints)


def weights_of(model: Any) -> list[np.ndarray]:
    """Copies all weights, which exclude metrics and seed generators."""
    return [np.array(ops.convert_to_numpy(weight)) for weight in model.weights]


def random_states_of(model: Any) -> list[np.ndarray]:
    """Copies the states of seed generators."""
    return [
        np.array(ops.convert_to_numpy(variable))
        for variable in model.variables
        if "seed_generator" in variable.path
    ]


def assert_same(actual: list[np.ndarray], expected: list[np.ndarray], atol: float = 0.0) -> None:
    """Asserts that two lists of arrays are equal within a tolerance."""
    assert len(actual) == len(expected)
    for left, right in zip(actual, expected, strict=True):
        np.testing.assert_allclose(left, right, rtol=0, atol=atol)


def check_logs_name_every_term(fitted: Fitted) -> None:
    names = {"loss", *fitted.case.loss_weights, *fitted.case.other_logs}
    assert set(fitted.history) == names | {f"val_{name}" for name in names}
    assert all(len(values) == EPOCHS for values in fitted.history.values())
    assert set(fitted.model.evaluate(fitted.held_out, verbose=0, return_dict=True)) == names


def check_loss_is_the_sum_of_its_terms(fitted: Fitted) -> None:
    for prefix in ("", "val_"):
        terms = {name: np.array(fitted.history[prefix + name]) for name in fitted.case.loss_weights}
        total = sum(weight * terms[name] for name, weight in fitted.case.loss_weights.items())
        if fitted.case.loss_is_sum:
            np.testing.assert_allclose(fitted.history[f"{prefix}loss"], total, rtol=1e-5)
        else:
            assert (fitted.history[f"{prefix}loss"] < total).all()


def check_training_lowers_the_loss(fitted: Fitted) -> None:
    assert fitted.history["loss"][-1] < 0.95 * fitted.history["loss"][0]


def check_evaluate_equals_numpy(fitted: Fitted) -> None:
    logs = fitted.model.evaluate(fitted.held_out, batch_size=64, verbose=0, return_dict=True)
    expected = fitted.case.reference(fitted.model, fitted.held_out)
    assert expected
    for name, value in expected.items():
        assert logs[name] == pytest.approx(value, rel=1e-4), name
        # Validation of the last epoch used the same weights.
        assert fitted.history[f"val_{name}"][-1] == pytest.approx(value, rel=1e-4), name


def check_reconstruct_decodes_what_encode_gives(fitted: Fitted) -> None:
    encoded = fitted.model.encode(fitted.held_out)
    images = fitted.model.decode(encoded)
    is_vq = hasattr(fitted.model, "encode_quantized")
    for array in keras.tree.flatten(encoded):
        assert isinstance(array, np.ndarray)
        assert array.dtype == ("int32" if is_vq else "float32")
    assert images.dtype == "float32"
    if is_vq:
        latents = fitted.model.encode_quantized(fitted.held_out)
        assert latents.dtype == "float32"
        np.testing.assert_allclose(fitted.model.decode_quantized(latents), images, atol=1e-6)
    assert images.shape == fitted.held_out.shape
    assert images.min() >= 0
    assert images.max() <= 1
    assert np.ptp(images, axis=0).max() > 0.01, "the images don't depend on the latents"
    np.testing.assert_allclose(fitted.model.reconstruct(fitted.held_out), images, atol=1e-6)


def check_batch_size_changes_nothing(fitted: Fitted) -> None:
    # 96 images in one batch, or in batches of 80 and 16.
    whole, parts = (fitted.model.reconstruct(fitted.held_out, batch_size=size) for size in (96, 80))
    np.testing.assert_allclose(whole, parts, atol=1e-6)


def check_tensors_and_lists_serve_as_arrays(fitted: Fitted) -> None:
    images = fitted.held_out[:80]
    expected = fitted.model.encode(images)
    for given in (ops.convert_to_tensor(images), images.astype("float64"), images.tolist()):
        encoded = fitted.model.encode(given)
        for one, other in zip(*map(keras.tree.flatten, (encoded, expected)), strict=True):
            assert isinstance(one, np.ndarray)
            np.testing.assert_allclose(one, other, atol=1e-6)


def check_no_images_give_empty_results(fitted: Fitted) -> None:
    model, some, none = fitted.model, fitted.held_out[:2], fitted.held_out[:0]

    def check(method: Any, *arguments: Any) -> None:
        """Compares shape and dtype of the empty result with those for two images."""
        of_some, of_none = (
            keras.tree.flatten(method(*(part[:count] for part in arguments))) for count in (2, 0)
        )
        for expected, empty in zip(of_some, of_none, strict=True):
            assert empty.shape == (0, *expected.shape[1:])
            assert empty.dtype == expected.dtype

    check(lambda x: model.predict(x, verbose=0), some)
    check(model.encode, some)
    check(model.reconstruct, some)
    check(model.interpolate, some, some)
    encoded = model.encode(some)
    if isinstance(encoded, tuple):
        check(lambda top, bottom: model.decode((top, bottom)), *encoded)
    else:
        check(model.decode, encoded)
    if hasattr(model, "encode_quantized"):
        check(model.encode_latents, some)
        check(model.encode_quantized, some)
        check(model.decode_quantized, model.encode_quantized(some))
    for method in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match="is empty"):
            method(none, verbose=0)


def check_interpolate(fitted: Fitted) -> None:
    start, end = fitted.held_out[:16], fitted.held_out[16:32]
    lines = fitted.model.interpolate(start, end, steps=5)
    assert lines.shape == (16, 5, *fitted.case.input_shape)
    np.testing.assert_allclose(lines[:, 0], fitted.model.reconstruct(start), atol=1e-6)
    np.testing.assert_allclose(lines[:, -1], fitted.model.reconstruct(end), atol=1e-6)
    assert np.abs(lines[:, 2] - lines[:, 0]).max() > 0.01
    with pytest.raises(ValueError, match="at least 2"):
        fitted.model.interpolate(start, end, steps=1)
    with pytest.raises(ValueError, match="arrays of the same shape"):
        fitted.model.interpolate(start, end[:8])


def check_inference_changes_no_weights(fitted: Fitted) -> None:
    model, images = fitted.model, fitted.held_out
    weights, random_states = weights_of(model), random_states_of(model)
    model.decode(model.encode(images))
    model.reconstruct(images)
    model.interpolate(images[:16], images[16:32], steps=5)
    assert_same(random_states_of(model), random_states)
    model.evaluate(images, verbose=0)
    model.predict(images, verbose=0)
    assert_same(weights_of(model), weights)


def check_config_round_trip(fitted: Fitted) -> None:
    config = fitted.model.get_config()
    again = type(fitted.model).from_config(config)
    assert again.get_config() == config


def check_saved_model_is_the_same(fitted: Fitted) -> None:
    last = keras_vq.load_model(fitted.checkpoints / CHECKPOINT.format(epoch=EPOCHS))
    assert type(last) is type(fitted.model)
    assert_same(weights_of(last), weights_of(fitted.model))
    if not fitted.case.has_own_state:  # the state of others moves on in inference
        assert_same(random_states_of(last), random_states_of(fitted.model))
    np.testing.assert_allclose(
        last.reconstruct(fitted.held_out), fitted.model.reconstruct(fitted.held_out), atol=1e-6
    )
    assert last.compiled
    assert last.optimizer.get_config() == fitted.model.optimizer.get_config()
    assert_same(
        [ops.convert_to_numpy(variable) for variable in last.optimizer.variables],
        [ops.convert_to_numpy(variable) for variable in fitted.model.optimizer.variables],
    )


def check_saved_model_goes_on_as_if_never_saved(fitted: Fitted) -> None:
    model = keras_vq.load_model(fitted.checkpoints / CHECKPOINT.format(epoch=1))
    # With validation, which advances the seed generator of a VAE.
    history = model.fit(
        fitted.images,
        initial_epoch=1,
        epochs=EPOCHS,
        validation_data=(fitted.held_out, None),
        **FIT,
    ).history
    for name, values in history.items():
        np.testing.assert_allclose(values, fitted.history[name][1:], rtol=1e-5, err_msg=name)
    assert_same(weights_of(model), weights_of(fitted.model), atol=1e-6)


def check_interrupted_fit_resumes_as_if_never_interrupted(fitted: Fitted, folder: Path) -> None:
    class Interruption(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            # Within the second epoch.
            if int(ops.convert_to_numpy(self.model.optimizer.iterations)) == 6:
                raise KeyboardInterrupt

    def fit(seed: int, *callbacks: Any) -> Any:
        keras.utils.set_random_seed(seed)
        model = fitted.case.build()
        model.compile(keras.optimizers.Adam(3e-3))
        backup = keras.callbacks.BackupAndRestore(folder / "backup")
        history = model.fit(
            fitted.images,
            epochs=EPOCHS,
            validation_data=(fitted.held_out, None),
            callbacks=[backup, *callbacks],
            **FIT,
        )
        return model, history.history

    with pytest.raises(KeyboardInterrupt):
        fit(1, Interruption())
    # Another seed, so that state missing in the backup would differ.
    model, history = fit(2)
    for name, values in history.items():
        np.testing.assert_allclose(values, fitted.history[name][1:], rtol=1e-5, err_msg=name)
    assert_same(weights_of(model), weights_of(fitted.model), atol=1e-6)


# Of all models.
MODEL_CHECKS = [
    check_logs_name_every_term,
    check_loss_is_the_sum_of_its_terms,
    check_training_lowers_the_loss,
    check_evaluate_equals_numpy,
    check_config_round_trip,
    check_saved_model_is_the_same,
]
# Of models whose methods of inference differ.
INFERENCE_CHECKS = [
    check_reconstruct_decodes_what_encode_gives,
    check_batch_size_changes_nothing,
    check_tensors_and_lists_serve_as_arrays,
    check_no_images_give_empty_results,
    check_interpolate,
    check_inference_changes_no_weights,
]
