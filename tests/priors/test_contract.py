"""Tests of all priors over codes."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

import keras_vq
from tests.priors.cases import AUTOREGRESSIVE_CASES, MASKED_CASES, PRIOR_CASES

GIVEN = {"num_classes": 3, "condition_size": (4, 2)}


def varied(prior):
    """Assigns random weights to a prior, so that all codes have different probabilities."""
    rng = np.random.default_rng(0)
    for weight in prior.trainable_weights:
        weight.assign(0.5 * rng.normal(size=weight.shape))
    return prior


def by_id(cases):
    return pytest.mark.parametrize("case", cases, ids=[case.id for case in cases])


@pytest.fixture(scope="module", params=PRIOR_CASES, ids=[case.id for case in PRIOR_CASES])
def pair(request):
    """Returns a case and its prior, shared by the checks that do not modify it."""
    keras.utils.set_random_seed(0)
    return request.param, varied(request.param.prior())


def logits_of(prior, inputs):
    return [ops.convert_to_numpy(level) for level in prior(inputs)["logits"]]


def naive_samples(prior, n, seed, **given):
    """Samples like `generate`, but with a full forward pass for every code (no KV cache)."""
    codes = np.zeros((n, prior._positions, len(prior.codebook_sizes)), "int32")
    draws = keras_vq.priors.sampling.uniform_numbers(seed, (n, *prior._uniforms_shape()))
    for position, level in np.ndindex(codes.shape[1:]):
        inputs = prior.as_inputs(codes.reshape(n, *prior.code_shape), **given)
        logits = logits_of(prior, inputs)[level][:, position]
        drawn = keras_vq.priors.sample_codes(logits, draws[:, position, level])
        codes[:, position, level] = ops.convert_to_numpy(drawn)
    return codes.reshape(n, *prior.code_shape)


def test_probabilities_of_all_grids_sum_to_one(pair):
    case, prior = pair
    nats = prior.log_likelihood(case.all_grids()).astype("float64")
    assert np.exp(nats).sum() == pytest.approx(1.0, abs=1e-4)
    assert nats.std() > 0.5


def test_samples_are_as_frequent_as_the_likelihood_says(pair):
    case, prior = pair
    if case not in AUTOREGRESSIVE_CASES:
        pytest.skip("its likelihood is a bound")
    grids = case.all_grids()
    expected = np.exp(prior.log_likelihood(grids).astype("float64"))
    samples = prior.generate(4000, seed=1, batch_size=4000)
    flat = grids.reshape(len(grids), -1)
    places = {tuple(grid): place for place, grid in enumerate(flat.tolist())}
    found = [places[tuple(sample)] for sample in samples.reshape(4000, -1).tolist()]
    frequencies = np.bincount(found, minlength=len(grids)) / 4000
    deviations = np.sqrt(expected * (1 - expected) / 4000)
    assert (np.abs(frequencies - expected) < 5 * deviations + 1e-3).all()


@by_id(AUTOREGRESSIVE_CASES)
def test_cached_sampling_is_the_naive_loop(case):
    coarse = (*case.grid_shape[:-1], 1)
    prior = varied(case.prior(condition_shape=coarse, **GIVEN))
    rng = np.random.default_rng(0)
    given = {
        "labels": rng.integers(0, 3, 20),
        "condition": rng.integers(0, 2, (20, *coarse, 2)),
    }
    expected = naive_samples(prior, 20, seed=5, **given)
    samples = prior.generate(20, seed=5, batch_size=8, **given)
    np.testing.assert_array_equal(samples, expected)
    # A guidance of 1 equals none; labels and condition have an effect.
    guided = prior.generate(20, seed=5, guidance=1.0, **given)
    assert (guided == expected).mean() > 0.95
    nats = prior.log_likelihood(expected, **given)
    for other in ({"labels": (given["labels"] + 1) % 3}, {"condition": 1 - given["condition"]}):
        assert (np.abs(prior.log_likelihood(expected, **{**given, **other}) - nats) > 1e-3).all()


def test_a_code_changes_only_what_comes_after_it(pair):
    case, prior = pair
    if case not in AUTOREGRESSIVE_CASES:
        pytest.skip("has no order")
    grids = case.all_grids()
    levels = len(prior.codebook_sizes)
    base = np.zeros_like(grids[:1]).reshape(1, prior._positions, levels)
    order = list(np.ndindex(base.shape[1:]))
    before = logits_of(prior, base.reshape(1, *prior.code_shape))
    for place, (position, level) in enumerate(order):
        changed = base.copy()
        changed[0, position, level] = 1
        after = logits_of(prior, changed.reshape(1, *prior.code_shape))
        for other, (at, of) in enumerate(order):
            difference = np.abs(after[of][0, at] - before[of][0, at]).max()
            # No blind spot: in small grids all later positions depend on each code.
            assert (difference > 1e-4) == (other > place), (position, level, at, of)


@by_id(MASKED_CASES)
def test_all_orders_give_the_mean_over_all_masks(case, monkeypatch):
    """The bound of Hoogeboom et al. is the same as a mean over masks or over orders."""
    prior = varied(case.prior(likelihood_steps=99))
    codes = case.all_grids()[[5, -2]]
    flat = codes.reshape(2, prior._positions, -1)
    total = flat[0].size
    masks = np.array(list(np.ndindex(*[2] * total))).reshape(-1, *flat.shape[1:]).astype(bool)
    sizes = np.array(prior.codebook_sizes)
    expected = np.zeros(2)
    for mask in masks[1:]:
        logits = prior._logits_of(np.where(mask, sizes, flat).astype("int32"), None)
        nats = ops.convert_to_numpy(keras_vq.priors.base.nats_of(logits, flat.astype("int32")))
        count = mask.sum()
        alike = sum(other.sum() == count for other in masks)
        expected -= (nats * mask).sum(axis=(1, 2)) / count / alike
    orders = np.array(list(itertools.permutations(range(total))), "int32")
    orders = orders.reshape(-1, *flat.shape[1:])
    monkeypatch.setattr(prior, "_likelihood_order", lambda: orders)
    np.testing.assert_allclose(prior.log_likelihood(codes), expected, rtol=1e-4)


@by_id(MASKED_CASES)
def test_likelihood_is_that_of_a_few_steps_in_an_order_of_a_fixed_seed(case):
    prior = varied(case.prior(likelihood_steps=3, likelihood_orders=2))
    codes = case.all_grids()[3:9]
    flat = codes.reshape(6, -1)
    sizes = np.tile(prior.codebook_sizes, prior._positions)
    rng = np.random.default_rng(0)
    orders = rng.permuted(np.tile(np.arange(4), (2, 1)), axis=1)
    expected = np.zeros(6)
    for ranks in orders:
        # 4 codes in 3 steps: 2, 1 and 1.
        for first, last in ((0, 2), (2, 3), (3, 4)):
            seen = np.where(ranks >= first, sizes, flat).reshape(6, prior._positions, -1)
            logits = prior._logits_of(seen.astype("int32"), None)
            true = flat.reshape(seen.shape).astype("int32")
            nats = ops.convert_to_numpy(keras_vq.priors.base.nats_of(logits, true)).reshape(6, -1)
            expected -= (nats * ((ranks >= first) & (ranks < last))).sum(axis=1) / 2
    np.testing.assert_allclose(prior.log_likelihood(codes), expected, rtol=1e-4)


def test_likelihood_is_a_function_of_the_grid_alone(pair):
    case, prior = pair
    grids = case.all_grids()
    alone = prior.log_likelihood(grids[4:5])
    rng = np.random.default_rng(0)
    for batch_size in (3, 7):
        codes = grids[rng.integers(0, len(grids), 10)]
        codes[[0, 5, 9]] = grids[4]
        nats = prior.log_likelihood(codes, batch_size=batch_size)
        np.testing.assert_allclose(nats[[0, 5, 9]], np.repeat(alone, 3), atol=1e-5)
    bits = prior.bits_per_input(codes)
    assert bits == pytest.approx(-nats.mean() / np.log(2), rel=1e-5)
    compiled = type(prior).from_config(prior.get_config())
    compiled.set_weights(prior.get_weights())
    compiled.compile()
    for batch_size in (3, 7):
        logs = compiled.evaluate(codes, batch_size=batch_size, verbose=0, return_dict=True)
        assert logs["bits_per_grid"] == pytest.approx(bits, rel=1e-5)
        assert logs["loss"] == pytest.approx(-nats.mean() / codes[0].size, rel=1e-5)


def is_empty(nats):
    return isinstance(nats, np.ndarray) and (nats.shape, nats.dtype) == ((0,), np.float32)


@by_id(PRIOR_CASES)
def test_likelihood_of_no_codes(case):
    coarse = (*case.grid_shape[:-1], 1)
    none = case.all_grids()[:0]
    assert is_empty(case.prior().log_likelihood(none))
    given = {"labels": np.zeros(0, int), "condition": np.zeros((0, *coarse, 2), int)}
    assert is_empty(case.prior(condition_shape=coarse, **GIVEN).log_likelihood(none, **given))
    for method in (case.prior().bits_per_input, case.prior().fit):
        with pytest.raises(ValueError, match=r"`codes` .* at least one row.*Received"):
            method(none)


@by_id(PRIOR_CASES)
def test_likelihood_of_a_network_of_zeros_is_that_of_uniform_codes(case):
    prior = case.prior()
    for weight in prior.trainable_weights:
        weight.assign(np.zeros(weight.shape))
    grids = case.all_grids()[:5]
    expected = -prior._positions * np.log(prior.codebook_sizes).sum()
    np.testing.assert_allclose(prior.log_likelihood(grids), np.full(5, expected), rtol=1e-5)


def test_sampling_is_a_function_of_the_seed(pair):
    case, prior = pair
    samples = prior.generate(9, seed=3)
    assert samples.dtype == np.int32
    assert samples.shape == (9, *case.all_grids().shape[1:])
    np.testing.assert_array_equal(samples, prior.generate(9, seed=3, batch_size=2))
    np.testing.assert_array_equal(samples[:4], prior.generate(4, seed=3)[:4])
    assert (samples != prior.generate(9, seed=4)).any()
    assert samples.min() >= 0
    assert (samples.reshape(-1, len(prior.codebook_sizes)) < prior.codebook_sizes).all()


def test_options_of_sampling(pair):
    _, prior = pair
    likeliest = prior.generate(8, seed=0, top_k=1)
    np.testing.assert_array_equal(likeliest[:1], prior.generate(8, seed=0, temperature=1e-3)[:1])
    np.testing.assert_array_equal(likeliest, prior.generate(8, seed=0, top_p=1e-6))
    assert (likeliest != prior.generate(8, seed=0)).any()


def test_file_holds_the_whole_prior(pair, tmp_path):
    case, prior = pair
    prior.save(tmp_path / "prior.keras")
    again = keras.saving.load_model(tmp_path / "prior.keras")
    assert again.get_config() == prior.get_config()
    codes = case.all_grids()[:7]
    np.testing.assert_allclose(again.log_likelihood(codes), prior.log_likelihood(codes), atol=1e-5)
    np.testing.assert_array_equal(again.generate(5, seed=1), prior.generate(5, seed=1))


@by_id(PRIOR_CASES)
def test_learns_what_codes_go_together(case):
    """Fits grids in which all codes equal the label."""
    rng = np.random.default_rng(0)
    # High label dropout, so that few steps also train the unconditional model.
    prior = case.prior(num_classes=2, hidden_dim=32, label_dropout=0.4)
    labels = rng.integers(0, 2, 2048)
    shape = (len(labels), *[1] * len(prior.code_shape))
    codes = np.broadcast_to(labels.reshape(shape), (len(labels), *prior.code_shape))
    prior.compile(keras.optimizers.Adam(1e-2))
    inputs = prior.as_inputs(codes, labels)
    prior.fit(inputs, batch_size=64, epochs=3, verbose=0)
    logs = prior.evaluate(inputs, verbose=0, return_dict=True)
    assert logs["loss"] < 0.1  # nats per code given labels; uniform: log 2 = 0.69
    asked = rng.integers(0, 2, 200)
    samples = prior.generate(200, labels=asked, guidance=2.0, seed=0).reshape(200, -1)
    assert (samples == asked[:, None]).mean() > 0.95
    # Samples without labels contain both classes with consistent codes.
    samples = prior.generate(200, seed=0).reshape(200, -1)
    assert (samples == samples[:, :1]).mean() > 0.9
    if case in AUTOREGRESSIVE_CASES:  # in MaskGIT, one class dominates
        assert 0.2 < samples.mean() < 0.8
    bits = prior.bits_per_input(codes[:500])
    assert 0.95 < bits < 2.5  # the codes have an entropy of 1 bit
    assert prior.bits_per_dimension(codes[:500], (4, 4, 1)) == pytest.approx(bits / 16)


def test_half_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    case = AUTOREGRESSIVE_CASES[0]
    prior = case.prior()
    prior.compile("adam")
    logs = prior.fit(prior.as_inputs(case.all_grids()), verbose=0).history
    assert np.isfinite(logs["loss"]).all()
    assert keras.backend.standardize_dtype(prior(case.all_grids())["logits"][0].dtype) == "float32"
    assert prior.generate(3, seed=0).shape == (3, 2, 2)


def test_fits_the_codes_of_a_vqvae(digits):
    encoder, decoder = keras_vq.networks.convolutional((8, 8, 1), filters=(8,), latent_dim=4)
    quantizer = keras_vq.ResidualQuantizer([keras_vq.VectorQuantizer(8) for _ in range(2)])
    vqvae = keras_vq.VQVAE(encoder, quantizer, decoder)
    assert vqvae.code_shape == (4, 4, 2)
    prior = keras_vq.priors.PixelCNNPrior.for_model(
        vqvae, num_classes=10, hidden_dim=8, num_layers=1
    )
    assert (prior.codebook_sizes, prior.grid_shape) == ((8, 8), (4, 4))
    labels = np.arange(128) % 10
    data = (digits[128:160], labels[:32])
    history = prior.fit_codes(vqvae, digits[:128], labels, validation_data=data, verbose=0)
    names = {"loss", "bits_per_grid", "val_loss", "val_bits_per_grid"}
    assert set(history.history) == names
    codes = vqvae.encode(digits[128:160])
    nats = -prior.log_likelihood(codes, labels[:32]).mean()
    assert history.history["val_loss"][0] == pytest.approx(nats / 32, rel=1e-5)
    bits = prior.bits_per_input(codes, labels[:32])
    assert history.history["val_bits_per_grid"][0] == pytest.approx(bits, rel=1e-5)
    with pytest.raises(ValueError, match=r"at least one row.*Received"):
        prior.fit_codes(vqvae, digits[:0], labels[:0])
    images = vqvae.generate(6, prior, labels=3, seed=0)
    codes = prior.generate(6, labels=3, seed=0)
    np.testing.assert_array_equal(images, vqvae.decode(codes))


def test_two_levels_are_one_prior():
    """Compares likelihoods with sampling frequencies for all pairs of grids."""
    top = varied(
        keras_vq.priors.TransformerPrior(3, (1, 1), hidden_dim=8, num_layers=1, num_heads=2)
    )
    given = {"condition_size": 3, "condition_shape": (1, 1)}
    bottom = varied(keras_vq.priors.PixelCNNPrior(2, (1, 2), hidden_dim=8, num_layers=1, **given))
    prior = keras_vq.priors.HierarchicalPrior(top, bottom)
    grids = np.array(list(np.ndindex(3, 2, 2)))
    pairs = grids[:, :1].reshape(-1, 1, 1), grids[:, 1:].reshape(-1, 1, 2)
    nats = prior.log_likelihood(pairs).astype("float64")
    assert np.exp(nats).sum() == pytest.approx(1.0, abs=1e-4)
    assert prior.bits_per_input(pairs) == pytest.approx(-nats.mean() / np.log(2), rel=1e-5)
    none = pairs[0][:0], pairs[1][:0]
    assert is_empty(prior.log_likelihood(none))
    with pytest.raises(ValueError, match=r"at least one row.*Received"):
        prior.bits_per_input(none)
    drawn = prior.generate(3000, seed=0, batch_size=3000)
    places = np.ravel_multi_index(np.concatenate([d.reshape(3000, -1) for d in drawn], 1).T,
                                  (3, 2, 2))  # fmt: skip
    np.testing.assert_allclose(np.bincount(places, minlength=12) / 3000, np.exp(nats), atol=0.05)
    np.testing.assert_array_equal(prior.generate(5, seed=1)[1], prior.generate(5, seed=1)[1])
    for arguments in ((top, top), (bottom, top), (top, 3)):
        with pytest.raises(ValueError, match="Received"):
            keras_vq.priors.HierarchicalPrior(*arguments)


def test_file_holds_a_prior_of_two_levels(tmp_path):
    given = {"condition_size": 3, "condition_shape": (1, 1), "num_classes": 2}
    top = varied(
        keras_vq.priors.TransformerPrior(3, (1, 1), 2, hidden_dim=8, num_layers=1, num_heads=2)
    )
    bottom = varied(keras_vq.priors.PixelCNNPrior(2, (1, 2), hidden_dim=8, num_layers=1, **given))
    prior = keras_vq.priors.HierarchicalPrior(top, bottom, name="both")
    prior.save(tmp_path / "prior.keras")
    for load in (keras.saving.load_model, keras_vq.load_model):
        again = load(tmp_path / "prior.keras")
        assert again.get_config() == prior.get_config()
        drawn = prior.generate(5, labels=1, seed=1)
        for expected, found in zip(drawn, again.generate(5, labels=1, seed=1), strict=True):
            np.testing.assert_array_equal(found, expected)
        labels = [0, 1, 1, 0, 1]
        np.testing.assert_allclose(
            again.log_likelihood(drawn, labels), prior.log_likelihood(drawn, labels), atol=1e-5
        )
        top = again.top.as_inputs(drawn[0], labels)
        bottom = again.bottom.as_inputs(drawn[1], labels, drawn[0])
        outputs = again({"top": top, "bottom": bottom})
        assert set(outputs) == {"top", "bottom"}


def test_fits_the_codes_of_two_levels(digits, tmp_path):
    networks = keras_vq.networks.hierarchical((8, 8, 1), (4,), 2, 1, 2)
    quantizers = [keras_vq.VectorQuantizer(8), keras_vq.VectorQuantizer(16)]
    vqvae = keras_vq.VQVAE2(*networks, top_quantizer=quantizers[0], bottom_quantizer=quantizers[1])
    classes = keras_vq.priors.TransformerPrior, keras_vq.priors.PixelCNNPrior
    prior = keras_vq.priors.HierarchicalPrior.for_model(vqvae, *classes, hidden_dim=4, num_layers=1)
    images = digits[:64]
    history = prior.fit_codes(vqvae, images, validation_data=images[:8], verbose=0).history
    codes = vqvae.encode(images[:8])
    logged = sum(history[f"{scale}_val_bits_per_grid"][0] for scale in ("top", "bottom"))
    assert prior.bits_per_input(codes) == pytest.approx(logged, rel=1e-5)
    assert vqvae.generate(3, prior, seed=0).shape == (3, 8, 8, 1)
    # Loaded parts are compiled, so training can continue.
    prior.save(tmp_path / "prior.keras")
    again = keras.saving.load_model(tmp_path / "prior.keras")
    history = again.fit_codes(vqvae, images, verbose=0).history
    assert np.isfinite(history["bottom_loss"]).all()


@pytest.mark.backend_free
def test_bad_input():
    cnn = keras_vq.priors.PixelCNNPrior
    small = {"hidden_dim": 4, "num_layers": 1}
    for arguments, message in [
        ({"codebook_size": 0, "grid_shape": (2, 2)}, "codebook_size"),
        ({"codebook_size": (), "grid_shape": (2, 2)}, "codebook_size"),
        ({"codebook_size": 4, "grid_shape": 7}, "grid_shape"),
        ({"codebook_size": 4, "grid_shape": (2, 2), "kernel_size": 4}, "odd"),
        ({"codebook_size": 4, "grid_shape": (2, 2), "condition_size": 3}, "must be set together"),
        (
            {"codebook_size": 4, "grid_shape": (4,), "condition_size": 3, "condition_shape": (3,)},
            "divide",
        ),
    ]:
        with pytest.raises(ValueError, match=rf"{message}.*Received"):
            cnn(**arguments, **{} if "kernel_size" in arguments else small)
    plain = cnn(4, (2, 2), **small)
    labeled = cnn(4, (2, 2), num_classes=3, label_dropout=0.0, **small)
    codes = np.zeros((5, 2, 2), int)
    for call, message in [
        (lambda: plain.as_inputs(codes + 4), "from 0 to 3"),
        (lambda: plain.as_inputs(codes - 1), "from 0 to 3"),
        (lambda: plain.as_inputs(codes[:, :1]), r"shape \(n, 2, 2\)"),
        (lambda: plain.as_inputs(codes * 0.5), "must be integers"),
        (lambda: plain.fit(codes[:0]), "at least one row"),
        (lambda: plain.evaluate(codes[:0]), "at least one row"),
        (lambda: plain.bits_per_input(codes[:0]), "at least one row"),
        (lambda: plain.bits_per_dimension(codes[:0], (4, 4, 1)), "at least one row"),
        (lambda: plain.log_likelihood(codes[:0, :1]), r"shape \(n, 2, 2\)"),
        (lambda: plain.as_inputs(codes, labels=[1] * 5), "must be None"),
        (lambda: plain.as_inputs(codes, condition=codes), "must be None"),
        (lambda: labeled.as_inputs(codes, [3] * 5), "from 0 to 2"),
        (lambda: labeled.as_inputs(codes, [0] * 4), "5 integers"),
        (lambda: labeled.as_inputs(codes), "label_dropout=0"),
        (lambda: plain.fit(codes + 4), "from 0 to 3"),
        (lambda: plain.evaluate(codes - 1), "from 0 to 3"),
        (lambda: labeled.fit({"codes": codes[:, 1:], "labels": codes[:, 0, 0]}), "shape"),
        (lambda: plain.generate(0), "`n`"),
        (lambda: plain.generate(1, temperature=0), "temperature"),
        (lambda: plain.generate(1, top_k=0), "top_k"),
        (lambda: plain.generate(1, top_p=1.5), "top_p"),
        (lambda: plain.generate(1, guidance=2.0), "requires `labels`"),
    ]:
        with pytest.raises(ValueError, match=rf"{message}.*Received"):
            call()
    encoder, decoder = keras_vq.networks.convolutional((8, 8, 1), filters=(8,), latent_dim=4)
    vqvae = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(8), decoder)
    with pytest.raises(ValueError, match=r"for_model.*Received"):
        plain.fit_codes(vqvae, np.zeros((2, 8, 8, 1), "float32"))


@pytest.mark.backend_free
def test_nan_does_not_go_unnoticed():
    prior = PRIOR_CASES[0].prior()
    prior.compile("adam")
    prior.trainable_weights[0].assign(np.full(prior.trainable_weights[0].shape, np.nan))
    with pytest.raises(ValueError, match="loss must be finite"):
        prior.fit(prior.as_inputs(PRIOR_CASES[0].all_grids()), verbose=0)
