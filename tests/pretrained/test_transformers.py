"""Tests of the converters of codecs of sound against live models of transformers."""

import math

import keras
import numpy as np
import pytest
from keras import ops
from safetensors.numpy import load_file, save_file

import keras_vq
from keras_vq.pretrained import ConversionError
from tests.pretrained.cases import SOUND_CASES
from tests.pretrained.sounds import from_torch, live, speech, to_torch, torch

WEIGHTS = "model.safetensors"
NOISE = np.random.default_rng(0).normal(size=(2, 10, 16)).astype("float32")


def sounds_of(name):
    _, config, samples = SOUND_CASES[name]
    return speech(samples, config.get("audio_channels", 1))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Returns a function from the name of a case to a live model and its folder."""
    made = {}

    def of_name(name):
        if name not in made:
            kind, config, _ = SOUND_CASES[name]
            folder = tmp_path_factory.mktemp(name) / "source"
            model = live(kind, sounds_of(name), **config)
            model.save_pretrained(folder)
            made[name] = model, folder
        return made[name]

    return of_name


def encoded(theirs, sounds):
    """Returns codes and loudness of a model of transformers."""
    inputs = to_torch(sounds)
    with torch.no_grad():
        if theirs.config.model_type == "dac":
            # The padding of `DacFeatureExtractor`.
            missing = -inputs.shape[-1] % theirs.config.hop_length
            inputs = torch.nn.functional.pad(inputs, (0, missing))
            return theirs.encode(inputs).audio_codes.numpy().swapaxes(1, 2), None
        found = theirs.encode(inputs, bandwidth=theirs.config.target_bandwidths[-1])
    return found.audio_codes[0].numpy().swapaxes(1, 2), found.audio_scales


def decoded(theirs, codes):
    """Returns the sounds of codes, without the loudness."""
    codes = torch.from_numpy(codes.swapaxes(1, 2).astype("int64"))
    with torch.no_grad():
        if theirs.config.model_type == "dac":
            return theirs.decode(audio_codes=codes).audio_values[..., None].numpy()
        return from_torch(theirs.decode(codes[None], [None]).audio_values)


def close(ours, theirs, relative):
    np.testing.assert_allclose(ours, theirs, atol=relative * np.abs(theirs).max())


def check_outputs(ours, theirs, codes):
    """Checks the decoder, whose last samples transformers omits for odd strides of DAC."""
    expected, made = decoded(theirs, codes), ours.decode(codes)
    assert 0.05 < np.std(expected) < 1
    assert made.shape[1] == codes.shape[1] * hop_of(theirs)
    close(made[:, : expected.shape[1]], expected, 1e-4)
    assert not made[:, expected.shape[1] :].any()


def hop_of(theirs):
    return math.prod(theirs.config.upsampling_ratios)


@pytest.mark.parametrize("name", SOUND_CASES)
def test_codes_and_sound_are_those_of_transformers(source, name):
    theirs, folder = source(name)
    ours = keras_vq.from_pretrained(folder)
    sounds = sounds_of(name)
    assert sounds.shape[1] % hop_of(theirs)
    codes, loudness = encoded(theirs, sounds)
    np.testing.assert_array_equal(ours.encode(sounds), codes)
    assert len(np.unique(codes)) > 30
    assert codes.shape[:2] == (2, -(-sounds.shape[1] // hop_of(theirs)))
    check_outputs(ours, theirs, codes)
    is_normalized = name == "encodec_48khz"
    if is_normalized:
        layer = ours.encoder.get_layer("loudness")
        close(ops.convert_to_numpy(layer.loudness(sounds))[:, :, 0], loudness[0].numpy(), 1e-5)
    recorded = {
        "family": f"{SOUND_CASES[name][0]}Model",
        "sample_rate": theirs.config.sampling_rate,
        "stages": codes.shape[-1],
        "value_range": [-1.0, 1.0],
        "loudness_normalization": is_normalized,
        **({"chunk_samples": 48_000, "chunk_overlap": 0.01} if is_normalized else {}),
    }
    assert {name: ours.provenance.get(name, False) for name in recorded} == recorded


def test_fewer_stages(source):
    # Stages of 7.2 kilobits per second.
    of_bandwidth = keras_vq.from_pretrained(source("encodec_24khz")[1], bandwidth=15.0)
    assert of_bandwidth.codebook_sizes == (64, 64)
    theirs, folder = source("dac_44khz")
    ours = keras_vq.from_pretrained(folder, stages=2)
    assert ours.provenance["stages"] == 2
    sounds = sounds_of("dac_44khz")
    np.testing.assert_array_equal(ours.encode(sounds), encoded(theirs, sounds)[0][..., :2])


def test_a_fine_tuned_decoder_lowers_the_error_and_keeps_the_codes(source):
    theirs, folder = source("encodec_16khz")
    samples = 8 * hop_of(theirs)
    sounds, held_out = (
        np.concatenate([speech(samples, offset=offset + 0.004 * turn) for turn in range(8)])
        for offset in (0.0, 0.1)
    )
    ours = keras_vq.from_pretrained(folder, input_shape=(samples, 1), trainable="decoder")
    codes = ours.encode(sounds)
    before = np.mean((ours.reconstruct(held_out) - held_out) ** 2)
    frozen = ours.encoder.get_weights() + ours.quantizer.get_weights()
    ours.compile(keras.optimizers.Adam(3e-3))
    ours.fit(sounds, epochs=12, batch_size=16, verbose=0)
    assert np.mean((ours.reconstruct(held_out) - held_out) ** 2) < 0.5 * before
    np.testing.assert_array_equal(ours.encode(sounds), codes)
    for old, new in zip(
        frozen, ours.encoder.get_weights() + ours.quantizer.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("has_averages", [True, False])
def test_codebooks_of_encodec_continue_their_averages(source, has_averages, tmp_path):
    theirs, folder = source("encodec_16khz")
    tensors = load_file(folder / WEIGHTS)
    averages = [name for name in tensors if name.endswith(("cluster_size", "embed_avg"))]
    for name in () if has_averages else averages:
        del tensors[name]
    save_file(tensors, tmp_path / WEIGHTS)
    ours = keras_vq.from_pretrained(tmp_path / WEIGHTS, theirs.config.to_dict(), stages=1)
    (stage,) = ours.quantizer.quantizers
    before, vectors = (np.array(ops.convert_to_numpy(x)) for x in (stage.code_vectors(), NOISE))
    stage(0.01 * vectors, training=True)
    after = ops.convert_to_numpy(stage.code_vectors())
    assert not np.array_equal(after, before)
    # One batch has a hundredth of the weight.
    assert np.abs(after - before).max() < 0.1 * np.abs(before).max()
    sizes = tensors["quantizer.layers.0.codebook.cluster_size"] if has_averages else np.ones(64)
    codes = ops.convert_to_numpy(stage.encode(0.01 * vectors)).ravel()
    assert len(codes) == 20
    assert ops.convert_to_numpy(stage.codebook.ema_counts).sum() == pytest.approx(
        0.99 * sizes.sum() + 0.01 * 20, rel=1e-4
    )


def old_weight_norm(theirs):
    """Returns tensors with the names of weight normalization before PyTorch 2.1."""
    ends = {"parametrizations.weight.original0": "weight_g"}
    ends["parametrizations.weight.original1"] = "weight_v"
    tensors = dict(theirs.state_dict())
    for name in list(tensors):
        for new, old in ends.items():
            if name.endswith(new):
                tensors[name.removesuffix(new) + old] = tensors.pop(name)
    return tensors


def with_weight_norm(theirs):
    """Returns tensors of a model with weight normalization, which published files of DAC lack."""
    again = type(theirs)(theirs.config)
    again.load_state_dict(theirs.state_dict())
    again.apply_weight_norm()
    return again.state_dict()


@pytest.mark.backend_free
@pytest.mark.parametrize(
    ("name", "form"), [("encodec_24khz", old_weight_norm), ("dac_44khz", with_weight_norm)]
)
def test_other_forms_of_weight_normalization(source, name, form, tmp_path):
    theirs, folder = source(name)
    tensors = {name: tensor.contiguous().numpy() for name, tensor in form(theirs).items()}
    assert any("original0" in name or "weight_g" in name for name in tensors)
    save_file(tensors, tmp_path / WEIGHTS)
    ours = keras_vq.from_pretrained(tmp_path / WEIGHTS, config=folder / "config.json")
    for weight, expected in zip(
        ours.get_weights(), keras_vq.from_pretrained(folder).get_weights(), strict=True
    ):
        np.testing.assert_allclose(weight, expected, rtol=1e-5, atol=1e-7)


REFUSED = [
    ("encodec_24khz", {"trim_right_ratio": 0.5}, {}, "`trim_right_ratio` = 1.0"),
    ("encodec_24khz", {"pad_mode": "circular"}, {}, "`pad_mode` = 'reflect' or 'constant'"),
    ("encodec_24khz", {"norm_type": "layer_norm"}, {}, "`norm_type` = 'weight_norm' or"),
    ("encodec_24khz", {"codebook_dim": 8}, {}, "`codebook_dim` = None or 16.*codebook_dim=8"),
    ("encodec_24khz", {"target_bandwidths": [21.6]}, {}, r"surplus: quantizer.layers.3.codebook"),
    ("encodec_24khz", {"num_filters": 8}, {}, r"misshapen: encoder.layers.0.conv.weight \(4, 1, 7"),
    ("encodec_24khz", {"num_lstm_layers": 3}, {}, "missing: .*encoder.layers.7.lstm.bias_l2"),
    ("dac_16khz", {"n_codebooks": 2}, {}, "surplus: quantizer.quantizers.2.codebook.weight"),
    ("dac_16khz", {"n_codebooks": 4}, {}, "missing: quantizer.quantizers.3.codebook.weight"),
    ("dac_16khz", {"decoder_hidden_size": 30}, {}, "`decoder_filters` must be a multiple of 4"),
    ("dac_16khz", {}, {"stages": 4}, "`stages` must be at most 3"),
    ("dac_16khz", {}, {"stages": 1, "bandwidth": 12.0}, "must not be given together"),
    ("dac_16khz", {}, {"bandwidth": 3.0}, "from 12 to 36 kilobits per second.*Received: 3.0"),
    ("dac_16khz", {}, {"input_shape": (80, 2)}, r"must be \(samples, 1\)"),
    ("dac_16khz", {}, {"input_shape": (81, 1)}, "divisible by 8"),
]


@pytest.mark.backend_free
@pytest.mark.parametrize(("name", "change", "options", "message"), REFUSED)
def test_configurations_that_do_not_fit_are_refused(source, name, change, options, message):
    theirs, folder = source(name)
    with pytest.raises(ValueError, match=message):
        keras_vq.from_pretrained(folder, {**theirs.config.to_dict(), **change}, **options)


@pytest.mark.backend_free
def test_incomplete_weight_normalization_is_refused(source, tmp_path):
    theirs, folder = source("encodec_16khz")
    tensors = load_file(folder / WEIGHTS)
    name = "encoder.layers.0.conv.parametrizations.weight.original"
    del tensors[f"{name}1"]
    save_file(tensors, tmp_path / WEIGHTS)
    with pytest.raises(ConversionError, match=rf"Received: {name}0 without {name}1"):
        keras_vq.from_pretrained(tmp_path / WEIGHTS, theirs.config.to_dict())


@pytest.mark.backend_free
def test_images_have_no_stages(tmp_path):
    pair = keras_vq.networks.latent_diffusion(filters=(8,), blocks=1, groups=4)
    model = keras_vq.VQVAE(pair.encoder, keras_vq.VectorQuantizer(8), pair.decoder)
    folder = keras_vq.pretrained.save_as_diffusers(model, tmp_path / "images")
    with pytest.raises(ValueError, match="`stages` must be `None` for a VQModel"):
        keras_vq.from_pretrained(folder, stages=1)
