"""Tests of image batches: shapes, values and reproducible order in `fit` and validation."""

import random

import keras
import numpy as np
import pytest

from keras_vq.data import ImageDataset

LENGTH = 10


@pytest.fixture
def dataset():
    # Image i has the constant value 10 * i, which identifies it in a batch.
    pixels = (np.arange(LENGTH, dtype="uint8") * 10).reshape(LENGTH, 1, 1, 1)
    return ImageDataset(pixels, labels=np.arange(LENGTH))


class Recorder(keras.Model):
    """Model with one Dense layer, trained without targets."""

    def __init__(self):
        super().__init__()
        self.scale = keras.layers.Dense(1)
        self.seen = []

    def call(self, inputs):
        outputs = self.scale(inputs)
        self.add_loss(keras.ops.mean(keras.ops.square(outputs - inputs)))
        return outputs


def numbers(batch):
    return np.round(np.ravel(batch[0]) * 255 / 10).astype(int).tolist()


def order(batches):
    return [number for batch in batches for number in numbers(batch)]


def expected(dataset, epoch, batch_size=4, seed=3):
    return order(dataset.batches(batch_size, shuffle=True, seed=seed, first_epoch=epoch))


def recorded(batches):
    """Records the images that the batches return in each epoch."""
    epochs = []

    class Recording(type(batches)):
        def on_epoch_begin(self):
            super().on_epoch_begin()
            epochs.append([])

        def __getitem__(self, index):
            batch = super().__getitem__(index)
            if self._positions is not None and epochs:
                epochs[-1].extend(numbers(batch))
            return batch

    batches.__class__ = Recording
    return batches, epochs


def compiled(build=True):
    model = Recorder()
    if build:
        model(np.zeros((1, 1, 1, 1), "float32"))
    model.compile("sgd")
    return model


def fit(model, batches, **options):
    return model.fit(batches, verbose=0, **options)


def real_epochs(epochs):
    """Drops the incomplete epochs in which Keras only builds the model on one batch."""
    return [epoch for epoch in epochs if len(epoch) == LENGTH]


def test_a_batch_holds_images_from_0_to_1_and_the_last_one_may_be_partial(dataset):
    batches = dataset.batches(batch_size=4)
    assert isinstance(batches, keras.utils.PyDataset)
    assert len(batches) == batches.num_batches == 3
    assert [len(batch) for batch in batches] == [1, 1, 1]
    assert [batch[0].shape for batch in batches] == [(4, 1, 1, 1), (4, 1, 1, 1), (2, 1, 1, 1)]
    assert all(batch[0].dtype == np.float32 for batch in batches)
    np.testing.assert_allclose(np.ravel(batches[2][0]), [80 / 255, 90 / 255], rtol=1e-6)
    assert order(batches) == list(range(LENGTH))


def test_labels_follow_their_images(dataset):
    for images, labels in dataset.batches(4, shuffle=True, with_labels=True):
        assert labels.dtype == np.int32
        assert numbers((images,)) == labels.tolist()


def test_with_labels_needs_labels(dataset):
    with pytest.raises(ValueError, match=r"a data set with labels. Received: <ImageDataset"):
        ImageDataset(dataset.pixels).batches(with_labels=True)


def test_index_out_of_range_raises(dataset):
    with pytest.raises(IndexError, match=r"batch index must be less than 3. Received: 3"):
        dataset.batches(batch_size=4)[3]


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 0},
        {"batch_size": 2.5},
        {"batch_size": True},
        {"seed": -1},
        {"first_epoch": -1},
    ],
)
def test_bad_argument_raises(dataset, options):
    with pytest.raises(ValueError, match=rf"`{next(iter(options))}` must be .* Received: "):
        dataset.batches(**options)


def test_each_epoch_has_its_own_order_of_all_images(dataset):
    orders = [expected(dataset, epoch) for epoch in range(4)]
    assert all(sorted(epoch) == list(range(LENGTH)) for epoch in orders)
    assert len({tuple(epoch) for epoch in orders}) == 4
    assert expected(dataset, 0, seed=4) != orders[0]


def test_order_depends_on_seed_and_epoch_only(dataset):
    first = expected(dataset, 2)
    random.seed(5)
    keras.utils.set_random_seed(6)
    assert expected(dataset, 2) == first
    assert expected(dataset, 2, batch_size=3) == first


def test_on_epoch_end_advances_the_epoch(dataset):
    batches = dataset.batches(4, shuffle=True, seed=3)
    for epoch in range(3):
        assert batches.epoch == epoch
        assert order(batches) == expected(dataset, epoch)
        batches.on_epoch_end()


def test_without_shuffle_the_order_stays(dataset):
    batches, epochs = recorded(dataset.batches(4))
    fit(compiled(), batches, epochs=2)
    assert real_epochs(epochs) == [list(range(LENGTH))] * 2


@pytest.mark.parametrize("build", [True, False], ids=["built", "unbuilt"])
@pytest.mark.parametrize("options", [{}, {"shuffle": False}], ids=["fit_shuffles", "fit_does_not"])
@pytest.mark.parametrize("batch_size", [4, 5, LENGTH])
def test_fit_counts_epochs_from_zero_whatever_it_asks_first(dataset, build, options, batch_size):
    batches, epochs = recorded(dataset.batches(batch_size, shuffle=True, seed=3))
    fit(compiled(build), batches, epochs=3, **options)
    assert batches.epoch == 3
    # The last three, because with one batch per epoch the build looks like an epoch.
    assert real_epochs(epochs)[-3:] == [expected(dataset, epoch, batch_size) for epoch in range(3)]


@pytest.mark.parametrize("epochs_before", [1, 2])
def test_resumed_fit_sees_what_an_uninterrupted_one_sees(dataset, epochs_before):
    whole, whole_epochs = recorded(dataset.batches(4, shuffle=True, seed=3))
    fit(compiled(), whole, epochs=4)

    before, before_epochs = recorded(dataset.batches(4, shuffle=True, seed=3))
    fit(compiled(), before, epochs=epochs_before)
    after, after_epochs = recorded(
        dataset.batches(4, shuffle=True, seed=3, first_epoch=epochs_before)
    )
    fit(compiled(), after, epochs=4, initial_epoch=epochs_before)
    assert real_epochs(before_epochs) + real_epochs(after_epochs) == real_epochs(whole_epochs)
    assert after.epoch == whole.epoch == 4


def test_the_same_batches_go_on_in_a_second_fit(dataset):
    batches, epochs = recorded(dataset.batches(4, shuffle=True, seed=3))
    model = compiled()
    fit(model, batches, epochs=1)
    fit(model, batches, epochs=1)
    assert real_epochs(epochs) == [expected(dataset, 0), expected(dataset, 1)]


def test_an_epoch_broken_off_begins_anew(dataset):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 0

    model = compiled()
    batches = dataset.batches(4, shuffle=True, seed=3, first_epoch=1)
    fit(model, batches, epochs=1, callbacks=[Stop()])
    assert batches.epoch == 1
    batches, epochs = recorded(batches)
    fit(model, batches, epochs=1)
    assert real_epochs(epochs) == [expected(dataset, 1)]
    assert batches.epoch == 2


@pytest.mark.parametrize("build", [True, False], ids=["built", "unbuilt"])
def test_validation_by_other_batches_keeps_both_counts_right(dataset, build):
    batches, epochs = recorded(dataset.batches(4, shuffle=True, seed=3))
    validation, seen = recorded(dataset.batches(5, shuffle=True, seed=9))
    fit(compiled(build), batches, epochs=3, validation_data=validation)
    assert real_epochs(epochs) == [expected(dataset, epoch) for epoch in range(3)]
    assert real_epochs(seen) == [expected(dataset, epoch, 5, seed=9) for epoch in range(3)]
    assert batches.epoch == validation.epoch == 3


def test_evaluate_counts_one_epoch(dataset):
    batches = dataset.batches(4)
    compiled().evaluate(batches, verbose=0)
    assert batches.epoch == 1


# `predict` of Keras converts torch tensors in a way that NumPy 2 deprecates.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_predict_gives_images_in_order(dataset):
    model = keras.Sequential([keras.Input((1, 1, 1)), keras.layers.Rescaling(255 / 10)])
    predicted = model.predict(dataset.batches(4), verbose=0)
    np.testing.assert_allclose(np.ravel(predicted), np.arange(LENGTH), atol=1e-4)


def test_fit_with_labels_passes_them_as_targets(dataset):
    model = keras.Sequential([keras.Input((1, 1, 1)), keras.layers.Flatten()])
    model.compile(loss="mse", metrics=["mae"])
    loss = model.evaluate(dataset.batches(4, with_labels=True), verbose=0)[0]
    np.testing.assert_allclose(loss, np.mean((np.arange(LENGTH) * (10 / 255 - 1)) ** 2), rtol=1e-5)


def test_shuffling_leaves_the_random_state_of_the_process_alone(dataset):
    batches = dataset.batches(4, shuffle=True)
    keras.utils.set_random_seed(1)
    state = random.getstate()
    batches.on_epoch_begin()
    order(batches)
    batches.on_epoch_end()
    assert random.getstate() == state


def test_batches_are_made_in_one_thread(dataset):
    batches = dataset.batches(4)
    assert (batches.workers, batches.use_multiprocessing) == (1, False)
    with pytest.raises(AttributeError):
        batches.workers = 2


def test_iteration_outside_fit_is_plain_during_an_epoch_too(dataset):
    batches = dataset.batches(4, shuffle=True, seed=3)
    batches.on_epoch_begin()
    assert numbers(batches[2]) == expected(dataset, 0)[:4]  # in order of requests
    assert numbers(batches[2]) == expected(dataset, 0)[:4]
    assert order(batches) == expected(dataset, 0)


def test_a_batch_is_converted_when_it_is_asked_for(tmp_path):
    # A sparse file of 2 GiB: converting all images to float32 would need 8 GiB.
    pixels = np.memmap(tmp_path / "sparse", np.uint8, "w+", shape=(2048, 1024, 1024, 1))
    batches = ImageDataset(pixels).batches(2, shuffle=True)
    assert batches[0][0].shape == (2, 1024, 1024, 1)
