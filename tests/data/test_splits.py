"""Tests of split slices such as "train[:90%]"."""

import pytest

from keras_vq.data.splits import check_split, split_name, split_range

pytestmark = pytest.mark.backend_free


@pytest.mark.parametrize(
    ("split", "start", "stop"),
    [
        ("train", 0, 200),
        ("train[:]", 0, 200),
        ("train[:50]", 0, 50),
        ("train[50:]", 50, 200),
        ("train[10%:20%]", 20, 40),
        ("train[:33%]", 0, 66),
        ("train[ 5 : 10% ]", 5, 20),
        ("train[-100:]", 100, 200),
        ("train[:-10%]", 0, 180),
        ("train[:1000]", 0, 200),
    ],
)
def test_range(split, start, stop):
    assert split_name(split) == "train"
    assert split_range(split, 200) == range(start, stop)


def test_percentages_round_to_the_nearest_image():
    assert split_range("a[:50%]", 1797) == range(898)  # 898.5 rounds to even, as in TFDS
    assert split_range("a[:10%]", 1797) == range(180)


@pytest.mark.parametrize("split", ["train[", "train[5]", "train[1:2:3]", "", "train+test", 3, None])
def test_not_a_split(split):
    with pytest.raises(ValueError, match=r"`split` must be a name .* Received: "):
        split_name(split)


@pytest.mark.parametrize("split", ["train[a:]", "train[:1.5]", "train[:101%]"])
def test_bad_boundary(split):
    with pytest.raises(ValueError, match=r"must be integers .* Received: split="):
        split_range(split, 10)


@pytest.mark.parametrize("split", ["train[20:]", "train[5:5]", "train[7:3]"])
def test_empty_slice(split):
    with pytest.raises(ValueError, match=r"not be empty: 'train' has 10 images. Received: split="):
        split_range(split, 10)


def test_unknown_split_names_the_known_ones():
    with pytest.raises(ValueError, match=r"must be one of 'a', 'b'. Received: split='c\[:3\]'"):
        check_split("c[:3]", ("a", "b"), "X")
