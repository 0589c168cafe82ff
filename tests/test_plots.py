"""Tests of plots: content of figures, files and invalid arguments."""

import matplotlib
import numpy as np
import pytest
from PIL import Image

from keras_vq.plots import (
    plot_codebook_usage,
    plot_histories,
    plot_history,
    plot_latent_space,
    plot_reconstructions,
    plot_rows,
    plot_samples,
    plot_traversal,
)

pytestmark = pytest.mark.backend_free

COLOR = (6, 4, 3)
GRAY = (8, 8, 1)


def tiles(figure, shape):
    """Returns the images of a mosaic, row by row, as an array of shape `(rows, columns, *shape)`.

    Checks that each image has a line around it and is enlarged by an integer.
    """
    (axes,) = figure.axes
    mosaic = axes.images[0].get_array()
    scale = round(120 / max(shape[:2]))
    height, width = scale * shape[0], scale * shape[1]
    places = np.arange(1, mosaic.shape[1], width + 6)
    rows = []
    for center in axes.get_yticks():
        top = int(center - (height - 1) / 2)
        rows.append([mosaic[top : top + height, left : left + width] for left in places])
        assert (mosaic[top - 1, : width + 2] == 179).all()
        assert (mosaic[top + height, : width + 2] == 179).all()
    found = np.array(rows) / 255
    enlarged = found[:, :, ::scale, ::scale]
    assert (found == enlarged.repeat(scale, axis=2).repeat(scale, axis=3)).all()
    return enlarged


def labels(ticks):
    return [tick.get_text() for tick in ticks]


@pytest.mark.parametrize("image_shape", [COLOR, GRAY])
def test_reconstructions_lie_below_their_originals(rng, image_shape):
    images = rng.random((5, *image_shape), "float32")
    figure = plot_reconstructions(images, images / 2, columns=3, title="a title")

    # Blocks of two rows: 3 originals, 3 reconstructions, then 2 and 2.
    expected = np.ones((4, 3, *image_shape))
    expected[0], expected[2, :2] = images[:3], images[3:]
    expected[1], expected[3, :2] = images[:3] / 2, images[3:] / 2
    drawn = tiles(figure, image_shape)
    np.testing.assert_allclose(drawn, np.broadcast_to(expected, drawn.shape), atol=1 / 255)
    axes = figure.axes[0]
    assert labels(axes.get_yticklabels()) == ["original", "reconstruction"] * 2
    assert axes.get_title(loc="left") == "a title"
    first, second, third, _ = axes.get_yticks()
    assert third - second == second - first + 30


def test_everything_lies_within_the_figure(rng):
    figure = plot_reconstructions(*rng.random((2, 3, *COLOR)), title="a rather long title" * 3)
    check_all_is_within(figure)
    check_all_is_within(plot_rows({"a rather long label of a row": rng.random((2, *COLOR))}))
    check_all_is_within(plot_traversal(rng.random((2, 3, *COLOR)), title="a title"))


def check_all_is_within(figure):
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert 0.1 < box.x0 < box.x1 < width - 0.1
    assert 0.1 < box.y0 < box.y1 < height - 0.1


def test_a_pixel_of_the_mosaic_is_a_pixel_of_the_file(tmp_path, rng):
    figure = plot_samples(rng.random((3, *COLOR)), tmp_path / "a.png", title="a title")
    mosaic = figure.axes[0].images[0].get_array()
    with Image.open(tmp_path / "a.png") as image:
        written = np.asarray(image.convert("RGB"))
    box = figure.axes[0].get_window_extent()
    top, left = round(len(written) - box.y1), round(box.x0)
    height, width = mosaic.shape[:2]
    np.testing.assert_array_equal(written[top : top + height, left : left + width], mosaic)


def test_large_images_are_averaged(rng):
    images = rng.random((2, 240, 240, 3))
    mosaic = plot_samples(images).axes[0].images[0].get_array()
    expected = images[0].reshape(120, 2, 120, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(mosaic[1:121, 1:121] / 255, expected, atol=2 / 255)


def test_values_outside_0_to_1_are_clipped_and_gray_keeps_its_scale():
    figure = plot_samples(np.array([-1.0, 2.0, 0.4]).reshape(3, 1, 1, 1))
    np.testing.assert_allclose(tiles(figure, (1, 1))[0, :, 0, 0], [[0.0] * 3, [1.0] * 3, [0.4] * 3])


def test_files_are_whole_and_alone(tmp_path, rng):
    images = rng.random((3, *GRAY))
    plot_reconstructions(images, images, tmp_path / "a.png")
    plot_samples(images, str(tmp_path / "b.png"))
    plot_history({"loss": [1.0, 0.5]}, tmp_path / "c.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png", "c.png"]
    for path in tmp_path.iterdir():
        with Image.open(path) as image:
            image.load()


def test_a_failed_write_leaves_the_old_file(tmp_path, rng, monkeypatch):
    path = tmp_path / "a.png"
    path.write_text("old")

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        plot_samples(rng.random((3, *GRAY)), path)
    assert [found.read_text() for found in tmp_path.iterdir()] == ["old"]


def test_no_state_of_matplotlib_changes(rng):
    import matplotlib.pyplot as plt

    before = dict(matplotlib.rcParams)
    plot_samples(rng.random((2, *GRAY)))
    plot_history({"loss": [1.0]})
    assert plt.get_fignums() == []
    assert dict(matplotlib.rcParams) == before


def test_history_has_a_panel_for_each_term_and_none_for_the_time():
    curves = {
        "epoch": [3, 4],
        "loss": [2.0, 1.0],
        "perplexity": [4.0, 5.0],
        "val_loss": [2.5, 1.5],
        "seconds": [1.0, 1.0],
    }
    figure = plot_history(curves)
    assert [axes.get_title() for axes in figure.axes] == ["loss", "perplexity"]
    training, validation = figure.axes[0].lines
    assert list(training.get_xdata()) == [3, 4]
    assert list(training.get_ydata()) == [2.0, 1.0]
    assert list(validation.get_ydata()) == [2.5, 1.5]
    assert len(figure.axes[1].lines) == 1


@pytest.mark.parametrize("epochs", [1, 2, 5, 20, 30, 100, 1000])
def test_history_begins_at_the_first_epoch(epochs):
    axes = plot_history({"loss": np.linspace(2, 1, epochs)}).axes[0]
    left, right = axes.get_xlim()
    assert 0 < left < 1
    assert epochs < right < epochs + 1
    ticks = [tick for tick in axes.get_xticks() if left <= tick <= right]
    assert all(tick == int(tick) and tick >= 1 for tick in ticks)
    assert ticks


def test_every_curve_has_a_legend():
    panels = plot_history({"time": [1.0, 2.0], "loss": [1.0, 2.0], "val_loss": [3.0, 2.0]}).axes
    assert panels[0].get_legend() is None
    texts = panels[1].get_legend().get_texts()
    assert [text.get_text() for text in texts] == ["training", "validation"]
    axes = plot_codebook_usage([3, 0, 1, 4]).axes[0]
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert sorted(texts) == ["share of each code", "uniform usage"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("codes, the most used first", "% of vectors")
    ticks = [tick for tick in axes.get_xticks() if 0.5 <= tick <= 4.5]
    assert ticks == [1, 2, 3, 4]


def test_history_of_fit_is_taken_as_it_is():
    class History:
        history = {"loss": [1.0]}  # noqa: RUF012

    line = plot_history(History()).axes[0].lines[0]
    assert line.get_marker() == "o"  # a single point is invisible without a marker


def test_histories_share_panels_and_have_a_color_each():
    short = {"epoch": [2, 3], "loss": [2.0, 1.0], "val_loss": [2.5, 1.5], "seconds": [1.0, 1.0]}
    long = {"loss": [100.0, 3.0, 2.0], "val_loss": [90.0, 4.0, 3.0], "kl_loss": [1.0, 2.0, 3.0]}
    figure = plot_histories({"short": short, "long": long})
    loss, kl = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["loss", "kl loss"]
    drawn = [(line.get_color(), line.get_linestyle(), *line.get_ydata()) for line in loss.lines]
    assert drawn == [
        ("C0", "-", 2.5, 1.5),
        ("C0", "--", 2.0, 1.0),
        ("C1", "-", 90.0, 4.0, 3.0),
        ("C1", "--", 100.0, 3.0, 2.0),
    ]
    assert [line.get_color() for line in kl.lines] == ["C1"]
    assert (loss.get_yscale(), kl.get_yscale()) == ("log", "linear")  # 100 against 1, 3 against 1
    assert loss.get_xlim() == (0.9, 3.1)
    (legend,) = figure.legends
    assert labels(legend.get_texts()) == ["short", "long", "validation", "training"]


def test_traversal_has_a_row_for_each_latent_under_its_values(rng):
    images = rng.random((2, 3, *COLOR))
    figure = plot_traversal(images, dimensions=[7, 4], values=[-2, 0.25, 2], title="a title")
    np.testing.assert_allclose(tiles(figure, COLOR), images, atol=1 / 255)
    (axes,) = figure.axes
    assert labels(axes.get_yticklabels()) == ["latent 7", "latent 4"]
    assert labels(axes.get_xticklabels()) == ["-2", "0.25", "2"]
    np.testing.assert_array_equal(axes.get_xticks(), 40.5 + 86 * np.arange(3))
    assert axes.get_xlabel() == "standard deviations"


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((0, 8, 8, 1)), "n >= 1"),
        (np.zeros((8, 8, 1)), "shape"),
        (np.zeros((2, 8, 8, 2)), "1 or 3 channels"),
        (np.zeros((2, 8, 8, 1), "uint8"), "Divide 8-bit pixels by 255"),
    ],
)
def test_what_is_no_image_is_refused(images, message):
    with pytest.raises(ValueError, match=message):
        plot_samples(images)


def test_other_mistakes_are_refused(tmp_path):
    images = np.zeros((2, *GRAY))
    with pytest.raises(ValueError, match="same shape"):
        plot_reconstructions(images, images[:1])
    with pytest.raises(ValueError, match="columns"):
        plot_reconstructions(images, images, columns=0)
    with pytest.raises(ValueError, match=r"\.png"):
        plot_samples(images, tmp_path / "a.xyz")
    with pytest.raises(ValueError, match="history"):
        plot_history({})
    with pytest.raises(ValueError, match="only epochs and times"):
        plot_history({"epoch": [1], "seconds": [2.0]})
    with pytest.raises(ValueError, match="`histories` must be a dictionary"):
        plot_histories({})
    with pytest.raises(ValueError, match=r"\(rows, steps, height, width, channels\)"):
        plot_traversal(images)
    with pytest.raises(ValueError, match=r"lengths 1 and 2.*Received: 1 and 3"):
        plot_traversal(images[None], values=[0, 1, 2])


def test_rows_of_sizes_that_differ_are_drawn_alike(rng):
    small, large = rng.random((3, 4, 4, 1)), rng.random((3, 8, 8, 1))
    figure = plot_rows({"small": small, "large": large})
    drawn = tiles(figure, (8, 8))
    np.testing.assert_allclose(drawn[0, ..., ::2, ::2, :1], small, atol=1 / 255)
    np.testing.assert_allclose(drawn[1, ..., :1], large, atol=1 / 255)
    with pytest.raises(ValueError, match="the same number of images"):
        plot_rows({"small": small, "large": large[:2]})


def test_latents_are_drawn_along_their_principal_components(rng):
    from sklearn.decomposition import PCA

    latents = rng.normal(size=(50, 3, 2)) * np.array([[5.0, 1.0], [0.5, 3.0], [0.1, 0.1]])
    labels = rng.integers(0, 3, 50)
    figure = plot_latent_space(latents, labels, title="latents", class_names=["a", "b", "c"])
    (axes,) = figure.axes
    reference = PCA(2).fit(latents.reshape(50, -1))
    drawn = np.asarray(axes.collections[0].get_offsets())
    expected = reference.transform(latents.reshape(50, -1))
    order = np.random.default_rng(0).permutation(50)
    np.testing.assert_allclose(np.abs(drawn), np.abs(expected[order]), atol=1e-6)
    share = 100 * reference.explained_variance_ratio_[0]
    assert axes.get_xlabel() == f"component 1, {share:.0f} % of the variance"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b", "c"]


def test_two_dimensions_are_drawn_as_they_are(rng):
    latents = rng.normal(size=(5, 2))
    axes = plot_latent_space(latents).axes[0]
    drawn = np.asarray(axes.collections[0].get_offsets())
    np.testing.assert_allclose(sorted(drawn.tolist()), sorted(latents.tolist()))


def test_labels_without_a_name():
    with pytest.raises(ValueError, match="1 names, labels from -1 to 1"):
        plot_latent_space(np.zeros((3, 2)), [-1, 0, 1], class_names=["a"])


def test_a_notebook_shows_figures_as_png(rng):
    assert plot_samples(rng.random((1, *GRAY)))._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize("labels", [[0], [0.0, 1.0, 2.0]])
def test_labels_that_do_not_fit(labels):
    with pytest.raises(ValueError, match="3 integers"):
        plot_latent_space(np.zeros((3, 2)), labels)
