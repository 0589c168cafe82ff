"""Tests of the converters of diffusers against its live models, with random weights."""

import warnings

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file

import keras_vq
from keras_vq.pretrained import ConversionError, save_as_diffusers
from tests.pretrained.cases import CASES
from tests.pretrained.references import (
    codes_of,
    diffusers,
    from_torch,
    latents_of,
    live,
    photographs,
    pixels,
    to_torch,
    torch,
)

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Returns a function from the name of a case to a live model and its folder."""
    made = {}

    def of_name(name):
        if name not in made:
            kind, config = CASES[name]
            folder = tmp_path_factory.mktemp(name) / "source"
            model = live(kind, **config)
            model.save_pretrained(folder)
            made[name] = model, folder
        return made[name]

    return of_name


def images_for(model, height=24, width=32):
    return photographs(height, width)[..., : model.config.in_channels]


def close(ours, theirs, relative):
    np.testing.assert_allclose(ours, theirs, atol=relative * np.abs(theirs).max())


@pytest.mark.parametrize("name", CASES)
def test_codes_latents_and_images_are_those_of_diffusers(source, name):
    theirs, folder = source(name)
    ours = keras_vq.from_pretrained(folder)
    images = images_for(theirs)
    latents = latents_of(theirs, images)
    with torch.no_grad():
        decoded = pixels(theirs.decode(latents).sample)
    if isinstance(ours, keras_vq.VQVAE):
        codes = codes_of(theirs, latents)
        close(ours.encode_latents(images), from_torch(latents), 1e-5)
        np.testing.assert_array_equal(ours.encode(images), codes)
        close(ours.decode(codes), decoded, 1e-4)
        assert len(np.unique(codes)) > 20
    else:
        close(ours.encode(images), from_torch(latents), 1e-5)
        close(ours.decode(from_torch(latents)), decoded, 1e-4)
    if isinstance(ours, keras_vq.VAE):
        with torch.no_grad():
            log_variance = theirs.encode(to_torch(images)).latent_dist.logvar
        posterior = ours._apply_to_batch(ours._posterior_batch, images)
        close(np.split(posterior, 2, axis=-1)[1], from_torch(log_variance), 1e-5)
    assert np.mean((decoded > 0) & (decoded < 1)) > 0.5
    assert ours.input_shape == (None, None, None, theirs.config.in_channels)
    assert ours.provenance["family"] == CASES[name][0]


@pytest.mark.parametrize("name", CASES)
def test_round_trip_is_equal_to_the_bit(source, name, tmp_path):
    _, folder = source(name)
    written = save_as_diffusers(keras_vq.from_pretrained(folder), tmp_path / "written")
    before, after = load_file(folder / WEIGHTS), load_file(written / WEIGHTS)
    assert set(before) == set(after)
    for tensor in before:
        np.testing.assert_array_equal(before[tensor], after[tensor], tensor)


@pytest.mark.parametrize("name", ["vq_attention", "kl_without_quant_conv", "tiny_gelu"])
def test_diffusers_loads_what_was_written(source, name, tmp_path):
    theirs, folder = source(name)
    ours = keras_vq.from_pretrained(folder)
    # Changes all weights, so that e.g. the identity of the means is one no more.
    ours.set_weights([1.01 * weight + 0.001 for weight in ours.get_weights()])
    save_as_diffusers(ours, tmp_path / "written")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = getattr(diffusers, CASES[name][0]).from_pretrained(tmp_path / "written").eval()
    ignored = {"_name_or_path", "_diffusers_version", "_use_default_values", "use_quant_conv"}
    ignored |= {"vq_embed_dim"}  # written although it is the default
    for key in set(theirs.config) - ignored:
        assert again.config[key] == theirs.config[key] or list(again.config[key]) == list(
            theirs.config[key]
        )
    images = images_for(theirs)
    latents = latents_of(again, images)
    with torch.no_grad():
        decoded = pixels(again.decode(latents).sample)
    close(ours.reconstruct(images), decoded, 1e-4)
    assert not np.allclose(latents, latents_of(theirs, images), rtol=1e-3)


def test_a_model_built_here_is_written_for_diffusers(tmp_path):
    pair = keras_vq.networks.latent_diffusion((16, 16, 3), (8, 16), 4, 1, groups=4)
    model = keras_vq.VQVAE(pair.encoder, keras_vq.VectorQuantizer(32), pair.decoder)
    images = photographs(16, 16)
    model.set_weights([weight + 0.05 for weight in model.get_weights()])
    save_as_diffusers(model, tmp_path / "written")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = diffusers.VQModel.from_pretrained(tmp_path / "written").eval()
    latents = latents_of(theirs, images)
    np.testing.assert_array_equal(model.encode(images), codes_of(theirs, latents))
    with torch.no_grad():
        close(model.reconstruct(images), pixels(theirs.decode(latents).sample), 1e-4)
    with pytest.raises(ValueError, match=r"`folder` must be new\. Pass `overwrite=True`"):
        save_as_diffusers(model, tmp_path / "written")
    save_as_diffusers(model, tmp_path / "written", overwrite=True)


REFUSED_MODELS = {
    "another class": (
        lambda: keras.Sequential([keras.Input((8, 8, 3))]),
        "must be one of the classes VQVAE, VAE, Autoencoder. Received: Sequential",
    ),
    "another network": (
        lambda: _vqvae(keras_vq.networks.convolutional((8, 8, 3)), keras_vq.VectorQuantizer(8)),
        "The encoder must be one of keras_vq.networks.latent_diffusion",
    ),
    "another quantizer": (
        lambda: _vqvae(_small_networks(), keras_vq.FiniteScalarQuantizer([4, 4, 4, 4])),
        "must have a VectorQuantizer with the Euclidean metric. Received: FiniteScalarQuantizer",
    ),
    "another metric": (
        lambda: _vqvae(_small_networks(), keras_vq.VectorQuantizer(8, metric="cosine")),
        "Received: VectorQuantizer with metric='cosine'",
    ),
    "another autoencoder": (
        lambda: keras_vq.Autoencoder(*keras_vq.networks.convolutional((8, 8, 3))),
        "must have the networks of keras_vq.networks.tiny_autoencoder",
    ),
}


def _small_networks():
    return keras_vq.networks.latent_diffusion(filters=(8,), blocks=1, groups=4)


def _vqvae(pair, quantizer):
    return keras_vq.VQVAE(pair.encoder, quantizer, pair.decoder)


@pytest.mark.backend_free
@pytest.mark.parametrize("name", REFUSED_MODELS)
def test_models_that_diffusers_lacks_are_refused(name, tmp_path):
    build, message = REFUSED_MODELS[name]
    with pytest.raises(ConversionError, match=message):
        save_as_diffusers(build(), tmp_path / "written")
    assert not (tmp_path / "written").exists()


REFUSED = [
    ("vq_plain", {"norm_type": "spatial"}, "`norm_type` = 'group'.*norm_type='spatial'"),
    ("vq_plain", {"act_fn": "relu"}, "`act_fn` = 'silu' or 'swish'.*act_fn='relu'"),
    ("kl_plain", {"down_block_types": ["DownBlock2D"] * 3}, "Received: DownBlock2D"),
    ("vq_attention", {"up_block_types": ["UpDecoderBlock2D"] * 2}, "that mirror"),
    ("vq_plain", {"out_channels": 1}, "as many output channels"),
    ("kl_plain", {"latents_mean": [0.0] * 4}, "`latents_mean` = None"),
    ("tiny_relu", {"act_fn": "tanh"}, "`act_fn` = 'relu' or 'silu'"),
    ("tiny_relu", {"upsampling_scaling_factor": 4}, "`upsampling_scaling_factor` = 2"),
    ("tiny_relu", {"encoder_block_out_channels": [8, 16]}, r"the same channels.*\[8, 16\]"),
    ("tiny_relu", {"_class_name": "AsymmetricAutoencoderKL"}, "with AsymmetricAutoencoderKL"),
    ("vq_plain", {"num_vq_embeddings": 99}, r"embedding.weight \(100, 6\) instead of \(99, 6\)"),
    ("vq_plain", {"layers_per_block": 1}, "surplus: decoder.up_blocks.0.resnets.2.conv1.bias"),
    ("vq_plain", {"layers_per_block": 3}, "missing: decoder.up_blocks.0.resnets.3.conv1.bias"),
]


@pytest.mark.backend_free
@pytest.mark.parametrize(("name", "change", "message"), REFUSED)
def test_configurations_that_do_not_fit_are_refused(source, name, change, message):
    theirs, folder = source(name)
    config = {**theirs.config, "_class_name": CASES[name][0], **change}
    with pytest.raises(ConversionError, match=message):
        keras_vq.from_pretrained(folder, config=config)


@pytest.mark.backend_free
def test_old_names_of_the_attention(source, tmp_path):
    theirs, folder = source("vq_attention")
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = {}
    for name, tensor in load_file(folder / WEIGHTS).items():
        for new, before in old.items():
            name = name.replace(f".{new}.", f".{before}.")
        tensors[name] = tensor
    from safetensors.numpy import save_file

    save_file(tensors, tmp_path / "old.safetensors")
    config = {**theirs.config, "_class_name": "VQModel"}
    ours = keras_vq.from_pretrained(tmp_path / "old.safetensors", config)
    images = images_for(theirs)
    np.testing.assert_array_equal(ours.encode(images), codes_of(theirs, latents_of(theirs, images)))


def test_a_frozen_encoder_keeps_all_codes_while_the_decoder_improves(source):
    theirs, folder = source("vq_gray")
    ours = keras_vq.from_pretrained(folder, trainable="decoder")
    # Trains on crops of two photographs, and measures on the third.
    images, held_out = np.split(images_for(theirs, 32, 32), [2])
    images = images.reshape(2, 2, 16, 2, 16, 1).swapaxes(2, 3).reshape(8, 16, 16, 1)
    codes, other_codes = ours.encode(images), ours.encode(held_out)
    frozen = ours.encoder.get_weights() + ours.quantizer.get_weights()
    before = np.mean((ours.reconstruct(held_out) - held_out) ** 2)
    ours.compile(keras.optimizers.Adam(3e-3))
    ours.fit(images, epochs=20, batch_size=4, verbose=0)
    assert np.mean((ours.reconstruct(held_out) - held_out) ** 2) < 0.9 * before
    np.testing.assert_array_equal(ours.encode(images), codes)
    np.testing.assert_array_equal(ours.encode(held_out), other_codes)
    for old, new in zip(
        frozen, ours.encoder.get_weights() + ours.quantizer.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("name", "trainable", "parts"),
    [
        ("kl_attention", "decoder", {"decoder"}),
        ("kl_attention", "all", {"encoder", "decoder", "mean", "log_variance"}),
        ("vq_attention", "all", {"encoder", "decoder", "quantizer"}),
        ("tiny_relu", "none", set()),
    ],
)
def test_trainable_parts_are_saved(source, name, trainable, parts, tmp_path):
    model = keras_vq.from_pretrained(source(name)[1], trainable=trainable)
    model.save(tmp_path / "model.keras")
    for each in (model, keras_vq.load_model(tmp_path / "model.keras")):
        names = ("encoder", "decoder", "mean", "log_variance", "quantizer")
        found = {
            part for part in names if getattr(getattr(each, part, None), "trainable_weights", 0)
        }
        assert found == parts
        assert each.provenance == model.provenance
