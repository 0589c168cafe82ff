"""Tests of `keras-vq encode` and `keras-vq decode`."""

import json

import numpy as np
import pytest
from PIL import Image

import keras_vq


def test_a_data_set_and_an_array_are_encoded(run, finished_run, tmp_path):
    options = ("--model", finished_run, "--out", "codes")
    result = run("encode", "digits", "--split", "test", *options, "--json")
    assert result.code == 0, result.err
    record = json.loads(result.out)
    digits = keras_vq.data.load("digits", "test")
    model = keras_vq.load_model(finished_run / "model.keras", compile=False)
    codes = keras_vq.encoding.CodeDataset("codes", labels="target", batch_size=len(digits))
    (found, labels) = codes[0]
    np.testing.assert_array_equal(found, model.encode(digits.images))
    np.testing.assert_array_equal(labels, digits.labels)
    assert record["rows"] == len(digits)
    assert record["files"] == ["codes/digits-test-00000.parquet"]
    result = run("decode", "codes", *options[:2], "--rows", "8:11", "--out", "images", "--json")
    assert result.code == 0, result.err
    files = json.loads(result.out)["files"]
    assert files == [f"images/digits-test-{row}.png" for row in range(8, 11)]
    for path, image in zip(files, model.decode(found[8:11]), strict=True):
        with Image.open(path) as picture:
            difference = np.asarray(picture, "int32") - 255 * np.clip(image[..., 0], 0, 1)
        assert np.abs(difference).max() <= 0.51
    np.save(tmp_path / "some.npy", digits.pixels[:20])
    assert run("encode", "some.npy", *options, "--rows-per-shard", 8).code == 0
    (some,) = keras_vq.encoding.CodeDataset("codes", ["some"])[0]
    np.testing.assert_array_equal(some, found[:20])
    assert len(list((tmp_path / "codes").glob("some-*.parquet"))) == 3


@pytest.mark.backend_free
def test_wrong_calls_get_one_line(run, finished_run, tmp_path):
    (tmp_path / "text.npy").write_text("no array")
    options = ("--model", finished_run, "--out", "codes")
    for arguments, message in (
        (("digits", *options, "--split", "dev"), "split"),
        (("missing.npy", *options), "existing file"),
        (("text.npy", *options), "must be a .npy file"),
        (("text.npy", *options, "--split", "test"), "require a data set"),
        (("digits", "--model", finished_run, "--out", "text.npy"), "must be a folder"),
        (("digits", "--out", "codes"), "Missing option '--model'"),
        (("digits", "--model", "vae_mnist", "--out", "codes"), "one code grid"),
        (("cifar10", *options), "channels"),
    ):
        result = run("encode", *arguments)
        assert result.code == 2, arguments
        assert message in result.err
    assert not (tmp_path / "codes").exists()
    assert run("encode", "digits", *options, "--quiet").code == 0
    decode = ("decode", "codes", "--out", "images", "--model")
    for arguments, message in (
        ((*decode, finished_run, "--rows", "7"), "not a range of rows"),
        ((*decode, finished_run, "--rows", "2000:"), "at least one of the 1,437 rows"),
        ((*decode, finished_run, "--source", "other"), "must be names out of"),
        ((*decode, "vqvae_mnist"), "must be the model that encoded"),
        (("decode", "images", "--out", "images", "--model", finished_run), "no manifest.json"),
    ):
        result = run(*arguments)
        assert result.code == 2, arguments
        assert message in result.err
    assert not (tmp_path / "images").exists()
