"""Tests of data sets that are encoded to files of codes."""

import errno
import json

import keras
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import keras_vq
from keras_vq.data import ImageDataset
from keras_vq.encoding import CodeDataset, _shards, encode_dataset

ROWS = 70


def vqvae(quantizer, network=keras_vq.networks.convolutional, **options):
    keras.utils.set_random_seed(0)
    encoder, decoder = network((4, 4, 1), **options)
    model = keras_vq.VQVAE(encoder, quantizer, decoder)
    model(np.zeros((1, 4, 4, 1), "float32"))
    return model


@pytest.fixture(scope="module")
def model():
    return vqvae(keras_vq.VectorQuantizer(300), filters=[4], latent_dim=4)


@pytest.fixture(scope="module")
def images():
    pixels = np.random.default_rng(0).integers(0, 256, (ROWS, 4, 4, 1)).astype("uint8")
    return ImageDataset(pixels, labels=np.arange(ROWS) % 3, name="noise")


@pytest.fixture
def small_groups(monkeypatch):
    monkeypatch.setattr(_shards, "ROWS_PER_GROUP", 6)


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class InterruptedCallError(Exception):
    pass


def interrupted_after(calls, model, monkeypatch):
    encode = model.encode

    def interrupted(*args, **kwargs):
        nonlocal calls
        calls -= 1
        if calls < 0:
            raise InterruptedCallError
        return encode(*args, **kwargs)

    monkeypatch.setattr(model, "encode", interrupted)


def test_files_contain_the_codes_of_the_model(model, images, tmp_path):
    found = encode_dataset(images, model, tmp_path, rows_per_shard=30, batch_size=8)
    codes = model.encode(images.images, batch_size=8)
    table = found.arrow_dataset().to_table()
    assert table.schema.field("codes").type.value_type == "uint16"
    stored = np.stack(table["codes"].to_numpy()).reshape(codes.shape)
    np.testing.assert_array_equal(stored, codes)
    np.testing.assert_array_equal(table["label"], images.labels)
    assert table["id"].to_pylist() == [f"noise-train:{row}" for row in range(ROWS)]
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert [shard["rows"] for shard in manifest["sources"]["noise-train"]["shards"]] == [30, 30, 10]
    assert manifest["model"]["code_shape"] == list(model.code_shape)
    assert manifest["model"]["codebook_sizes"] == [300]
    schema = pq.read_schema(tmp_path / "noise-train-00001.parquet")
    stored = json.loads(schema.metadata[b"keras_vq"])
    assert (stored["model"], stored["first_row"]) == (manifest["model"], 30)


@pytest.mark.backend_free
def test_few_codes_have_a_small_type():
    assert _shards.codes_type([256]) == "uint8"
    assert _shards.codes_type([2, 257]) == "uint16"
    assert _shards.codes_type([2**17]) == "uint32"


@pytest.mark.backend_free
@pytest.mark.parametrize("kind", ["residual", "one_code"])
def test_codes_keep_their_shape(images, tmp_path, kind):
    if kind == "residual":
        stages = keras_vq.ResidualQuantizer([keras_vq.VectorQuantizer(16) for _ in range(3)])
        model = vqvae(stages, filters=[4], latent_dim=4)
    else:
        model = vqvae(keras_vq.VectorQuantizer(16), keras_vq.networks.dense, latent_dim=4)
    (codes,) = encode_dataset(images.images, model, tmp_path, name="a")[0]
    expected = model.encode(images.images)
    assert expected.shape == (ROWS, *{"residual": (2, 2, 3), "one_code": ()}[kind])
    np.testing.assert_array_equal(codes, expected)


@pytest.mark.parametrize("rows_per_shard", [16, 1000])
def test_all_kinds_of_sources_give_the_same_rows(model, images, tmp_path, rows_per_shard):
    array, labels = images.images, images.labels
    batches = [(array[i : i + 9], labels[i : i + 9]) for i in range(0, ROWS, 9)]
    sources = {
        "images": images,
        "array": array,
        "batches": (each for each in batches),
        "py_dataset": images.batches(11, with_labels=True),
    }
    codes = model.encode(array)
    for name, source in sources.items():
        with_labels = None if name == "array" else "target"
        encode_dataset(source, model, tmp_path, name=name, rows_per_shard=rows_per_shard)
        read = list(CodeDataset(tmp_path, [name], labels=with_labels, batch_size=32))
        np.testing.assert_array_equal(np.concatenate([batch[0] for batch in read]), codes)
        if with_labels:
            np.testing.assert_array_equal(np.concatenate([batch[1] for batch in read]), labels)


@pytest.mark.backend_free
@pytest.mark.parametrize("kind", ["rows", "batches"])
@pytest.mark.parametrize("calls", [0, 1, 2, 3])
def test_an_interrupted_call_is_continued(model, images, tmp_path, monkeypatch, kind, calls):
    def encode(folder):
        source = images if kind == "rows" else images.batches(9)
        options = {"name": "a", "rows_per_shard": 20, "batch_size": 8}
        return encode_dataset(source, model, folder, **options)

    encode(tmp_path / "whole")
    with monkeypatch.context() as patched:
        interrupted_after(calls, model, patched)
        with pytest.raises(InterruptedCallError):
            encode(tmp_path / "parts")
    if calls:
        with pytest.raises(ValueError, match="must be encoded completely"):
            CodeDataset(tmp_path / "parts")
    kept = files_of(tmp_path / "parts")
    # A process that is killed leaves a temporary file, and shards that no manifest lists.
    (tmp_path / "parts" / ".keras_vq_unfinished_0123.parquet").write_bytes(b"PAR1")
    (tmp_path / "parts" / "manifest.json").unlink(missing_ok=True)
    assert encode(tmp_path / "parts").rows == ROWS
    found = files_of(tmp_path / "parts")
    assert found == files_of(tmp_path / "whole")
    assert all(found[name] == kept[name] for name in kept if name != "manifest.json")


@pytest.mark.backend_free
@pytest.mark.parametrize("kind", ["rows", "batches"])
def test_a_changed_source_is_refused(model, images, tmp_path, kind):
    def encode(pixels, labels=images.labels):
        source = ImageDataset(pixels, labels=labels)
        source = source if kind == "rows" else source.batches(9, with_labels=True)
        return encode_dataset(source, model, tmp_path, name="a", rows_per_shard=20)

    encode(images.pixels)
    before = files_of(tmp_path)
    one_value, one_label = images.pixels.copy(), images.labels.copy()
    one_value[33, 0, 0, 0] ^= 1
    one_label[69] += 1
    longer = np.concatenate([images.pixels, images.pixels])
    for changed in (
        (one_value,),
        (images.pixels, one_label),
        (images.pixels[:-1], images.labels[:-1]),
        (images.pixels[:40], images.labels[:40]),
        (longer, np.tile(images.labels, 2)),
    ):
        with pytest.raises(ValueError, match="must be those of the first call"):
            encode(*changed)
        assert files_of(tmp_path) == before
    assert encode(images.pixels).rows == ROWS
    assert files_of(tmp_path) == before


@pytest.mark.backend_free
def test_only_lost_shards_are_encoded_again(model, images, tmp_path, monkeypatch):
    def encode():
        return encode_dataset(images, model, tmp_path, rows_per_shard=20)

    encode()
    before = files_of(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.parquet")}
    lost = tmp_path / "noise-train-00001.parquet"
    lost.unlink()
    encode()
    assert files_of(tmp_path) == before
    changed = {path for path, time in times.items() if path.stat().st_mtime_ns != time}
    assert changed == {lost}
    interrupted_after(0, model, monkeypatch)  # nothing is left to encode
    encode()


@pytest.mark.backend_free
def test_a_full_disk_leaves_no_part_of_a_shard(model, images, tmp_path, monkeypatch):
    write = pq.write_table

    def fails(table, path, **kwargs):
        write(table.slice(0, 1), path, **kwargs)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(pq, "write_table", fails)
        with pytest.raises(OSError, match="No space left"):
            encode_dataset(images, model, tmp_path)
    assert files_of(tmp_path) == {}
    assert encode_dataset(images, model, tmp_path).rows == ROWS


@pytest.mark.backend_free
def test_another_source_changes_no_shard(model, images, tmp_path):
    encode_dataset(images, model, tmp_path)
    before = files_of(tmp_path)
    encode_dataset(images.take(9), model, tmp_path, name="few")
    after = files_of(tmp_path)
    assert all(after[name] == before[name] for name in before if name != "manifest.json")
    assert CodeDataset(tmp_path).rows == ROWS + 9
    assert CodeDataset(tmp_path, ["few"]).rows == 9


@pytest.mark.backend_free
def test_unreadable_images_are_listed(model, tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(4):
        Image.fromarray(np.full((4, 4), 60 * number, "uint8")).save(
            tmp_path / "photos" / f"{number}.png"
        )
    (tmp_path / "photos" / "2.png").write_bytes(b"\x89PNG and no more")
    with pytest.warns(UserWarning, match="Skipped"):
        photos = keras_vq.data.load(
            tmp_path / "photos", cache_dir=tmp_path / "cache", skip_broken=True
        )
    codes = encode_dataset(photos, model, tmp_path / "codes")
    assert codes.rows == len(photos)
    manifest = json.loads((tmp_path / "codes" / "manifest.json").read_text())
    (skipped,) = manifest["sources"]["photos-train"]["skipped"]
    assert "2.png" in skipped


@pytest.mark.backend_free
def test_wrong_calls_have_clear_errors(model, images, tmp_path):
    encode_dataset(images, model, tmp_path)

    def fails(message, source=images, by=model, folder=tmp_path, **options):
        with pytest.raises(ValueError, match=message):
            encode_dataset(source, by, folder, **options)

    other = keras.models.clone_model(model)
    other.set_weights([weight + 1 for weight in model.get_weights()])
    other(images.images[:1])
    fails("must be of one model", by=other)
    fails("must be those of the first call", images.take(5))
    fails("`rows_per_shard` of 'noise-train' must be", rows_per_shard=7)
    fails("`name` must be a string", images.images)
    fails("`name` must be a string", name="../up")
    fails("at least one row", images.images[:0], name="none")
    fails("at least one row", iter([]), name="no-batches")
    fails("must be an array", 3.5, name="number")
    wrong = np.full((3, 4, 4, 1), np.nan, "float32")
    fails("NaN", wrong, name="nan")
    fails("shape", np.zeros((3, 5, 5, 1), "float32"), name="large")
    vae = keras_vq.VAE(*keras_vq.networks.dense((4, 4, 1)), latent_dim=16)
    vae(images.images[:1])
    fails("one code grid", by=vae, folder=tmp_path / "vae")
    assert CodeDataset(tmp_path, ["noise-train"]).rows == ROWS
    with pytest.raises(ValueError, match=r"no manifest\.json"):
        CodeDataset(tmp_path / "missing")
    with pytest.raises(ValueError, match="`sources` must be names"):
        CodeDataset(tmp_path, ["noise"])
    with pytest.raises(ValueError, match="`labels` must be None,"):
        CodeDataset(tmp_path, ["noise-train"], labels="yes")
    encode_dataset(images.images, model, tmp_path, name="plain")
    with pytest.raises(ValueError, match="sources without labels"):
        CodeDataset(tmp_path, ["plain"], labels="target")
    shard = tmp_path / "plain-00000.parquet"
    shard.write_bytes(shard.read_bytes()[:-20])
    with pytest.raises(ValueError, match="shard of codes"):
        CodeDataset(tmp_path, ["plain"])
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(ValueError, match="manifest must be"):
        CodeDataset(tmp_path)


@pytest.mark.backend_free
@pytest.mark.parametrize("rows", [(0, 1), (0, ROWS), (5, 6), (6, 12), (29, 31), (64, ROWS)])
def test_rows_are_read_by_position(model, images, tmp_path, small_groups, rows):
    dataset = encode_dataset(images, model, tmp_path, rows_per_shard=30)
    ids, codes = dataset.read(*rows)
    assert ids == [f"noise-train:{row}" for row in range(*rows)]
    np.testing.assert_array_equal(codes, model.encode(images.images[slice(*rows)]))


@pytest.mark.backend_free
def test_rows_out_of_bounds_are_an_error(model, images, tmp_path):
    dataset = encode_dataset(images, model, tmp_path)
    for rows in ((3, 3), (-1, 2), (0, ROWS + 1)):
        with pytest.raises(ValueError, match="must satisfy"):
            dataset.read(*rows)


def trained(model, data, **options):
    keras.utils.set_random_seed(0)
    prior = keras_vq.priors.PixelCNNPrior.for_model(
        model, num_classes=3, hidden_dim=8, num_layers=1, seed=0
    )
    prior.compile(keras.optimizers.Adam(1e-2))
    prior.fit(data, epochs=2, verbose=0, **options)
    return prior.get_weights()


def test_a_prior_trains_as_on_arrays(images, tmp_path, small_groups):
    model = vqvae(keras_vq.VectorQuantizer(8), filters=[4], latent_dim=4)
    encode_dataset(images, model, tmp_path, rows_per_shard=30)
    arrays = {"codes": model.encode(images.images), "labels": images.labels}
    expected = trained(model, arrays, batch_size=16, shuffle=False)
    codes = CodeDataset(tmp_path, batch_size=16, labels="condition", shuffle_rows=18)
    for one, other in zip(trained(model, codes), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    again = [
        trained(model, CodeDataset(tmp_path, batch_size=16, labels="condition", shuffle=True))
        for _ in range(2)
    ]
    for one, other in zip(*again, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.backend_free
@pytest.mark.parametrize("shuffle_rows", [1, 13, 1000])
def test_an_epoch_has_each_row_once_in_a_new_order(
    model, images, tmp_path, small_groups, shuffle_rows
):
    encode_dataset(images, model, tmp_path, rows_per_shard=32)
    options = {"batch_size": 16, "shuffle": True, "shuffle_rows": shuffle_rows, "labels": "target"}
    dataset = CodeDataset(tmp_path, **options)

    def epoch(dataset):
        codes, labels = zip(*dataset, strict=True)
        return np.concatenate(codes), np.concatenate(labels)

    codes = model.encode(images.images)
    first = epoch(dataset)
    dataset.on_epoch_end()
    second = epoch(dataset)
    for found, labels in (first, second):
        rows = {(tuple(row.ravel()), label) for row, label in zip(found, labels, strict=True)}
        assert rows == {
            (tuple(row.ravel()), label) for row, label in zip(codes, images.labels, strict=True)
        }
        assert (found != codes).any()
    assert (first[0] != second[0]).any()
    resumed = epoch(CodeDataset(tmp_path, **options, first_epoch=1))
    np.testing.assert_array_equal(resumed[0], second[0])
    assert max(map(len, (rows["codes"] for rows in dataset._windows.values()))) <= max(
        shuffle_rows, 6
    )
