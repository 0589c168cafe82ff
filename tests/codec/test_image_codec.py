import math

import numpy as np
import pytest

import keras_vq
from keras_vq.codec import CorruptFileError, ImageCodec, container, read_header
from keras_vq.codec.range_coding import RangeCoder
from keras_vq.priors import MaskedPrior, PixelCNNPrior, TransformerPrior


def new_vqvae(quantizer=None):
    encoder, decoder = keras_vq.networks.convolutional((8, 8, 3), filters=(8, 8), latent_dim=4)
    return keras_vq.VQVAE(encoder, quantizer or keras_vq.VectorQuantizer(16), decoder)


@pytest.fixture(scope="module")
def vqvae():
    return new_vqvae()


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [rng.random(shape, "float32") for shape in ((8, 8, 3), (13, 21, 3), (3, 30, 3))]


def test_packed_images_are_what_the_model_makes_of_their_tiles(vqvae, images):
    codec = ImageCodec(vqvae)
    data = codec.compress(images, names=["a", "b", "c"])
    header = read_header(data)
    assert header.names == ("a", "b", "c")
    assert header.image_shapes == ((8, 8), (13, 21), (3, 30))
    made = codec.decompress(data)
    assert [image.shape for image in made] == [image.shape for image in images]
    expected = vqvae.reconstruct(np.stack([images[0], images[1][:8, 8:16]]))
    np.testing.assert_allclose(made[0], expected[0], atol=1e-5)
    np.testing.assert_allclose(made[1][:8, 8:16], expected[1], atol=1e-5)
    # 1 + 6 + 4 tiles of 2 x 2 codes of 4 bits.
    assert len(data) - len(codec.compress(images[:1], names=["a"])) < 11 * 2 + 40


@pytest.mark.parametrize("prior_class", [PixelCNNPrior, TransformerPrior])
@pytest.mark.parametrize("levels", [1, 2])
def test_codes_come_back_in_as_many_bits_as_the_prior_says(prior_class, levels):
    """Compares the payload size with -log2 p(codes) of `log_likelihood`."""
    quantizer = keras_vq.VectorQuantizer(16)
    if levels > 1:
        quantizer = keras_vq.ResidualQuantizer(
            [keras_vq.VectorQuantizer(16) for _ in range(levels)]
        )
    vqvae = new_vqvae(quantizer)
    prior = prior_class.for_model(vqvae, num_classes=3, hidden_dim=16, num_layers=2, seed=0)
    for weight in prior.trainable_variables:
        # Far from uniform, so that wrong probabilities would increase the size.
        weight.assign(0.2 * np.random.default_rng(0).normal(size=weight.shape))
    images = np.random.default_rng(1).random((40, 8, 8, 3), "float32")
    codec = ImageCodec(vqvae, prior, batch_size=16)
    data = codec.compress(images)
    codes = vqvae.encode(images)
    assert np.array_equal(codec.decompress_codes(data), codes)
    np.testing.assert_allclose(codec.decompress(data), vqvae.decode(codes), rtol=1e-5, atol=1e-5)
    bits = -prior.log_likelihood(codes).sum() / math.log(2)
    header_bits = 8 * len(data) - _payload_bits(data)
    assert header_bits < 8 * 60
    assert _payload_bits(data) == pytest.approx(bits, rel=0.02, abs=64)


@pytest.mark.backend_free
@pytest.mark.parametrize("sizes", [(1, 8), (8, 1), (1,), (1, 1)])
def test_codebooks_of_one_code_take_no_bits(sizes):
    quantizers = [keras_vq.VectorQuantizer(size) for size in sizes]
    vqvae = new_vqvae(keras_vq.ResidualQuantizer(quantizers) if len(sizes) > 1 else quantizers[0])
    images = np.random.default_rng(1).random((20, 8, 8, 3), "float32")
    codes = vqvae.encode(images)
    assert codes.max() > 0 or max(sizes) == 1
    prior = TransformerPrior.for_model(vqvae, hidden_dim=8, num_layers=1, num_heads=2, seed=0)
    for codec in (ImageCodec(vqvae), ImageCodec(vqvae, prior, batch_size=8)):
        data = codec.compress(images)
        np.testing.assert_array_equal(codec.decompress_codes(data), codes)
        # 2 x 2 codes of 3 bits per image, or the bits of the prior; the payload is whole words.
        bits = 20 * 4 * 3 if max(sizes) > 1 else 0
        if codec.prior is not None:
            bits = -prior.log_likelihood(codes).sum() / np.log(2)
        assert _payload_bits(data) <= bits + 64


def test_certain_codes_take_no_bits_and_impossible_ones_can_be_coded():
    """Uses probabilities that are 1 and 0 in float32."""
    prior = TransformerPrior(5, (4, 4), hidden_dim=8, num_layers=1, num_heads=2, seed=0)
    head = prior.code_heads.logits[0]
    head.kernel.assign(np.zeros(head.kernel.shape))
    head.bias.assign([0.0, 300.0, 0.0, -300.0, 0.0])
    coder = RangeCoder(prior, batch_size=16)
    certain = np.ones((64, 4, 4), "int32")
    assert len(coder.encode(certain)) <= 4  # 1,024 codes
    surprising = certain.copy()
    surprising[3, 1, 2], surprising[60, 0, 0] = 3, 4
    for codes in (certain, surprising):
        np.testing.assert_array_equal(coder.decode(coder.encode(codes), 64), codes)
    # The range coder has 24-bit probabilities.
    assert len(coder.encode(surprising)) <= 2 * 3 + 4


def _payload_bits(data):
    from keras_vq.codec.container import read_file

    return 8 * len(read_file(data)[1])


@pytest.mark.backend_free
def test_a_file_needs_its_model_and_its_prior(vqvae, images):
    prior = TransformerPrior.for_model(vqvae, hidden_dim=8, num_layers=1, num_heads=2)
    other = TransformerPrior.for_model(vqvae, hidden_dim=8, num_layers=1, num_heads=2)
    packed = ImageCodec(vqvae).compress(images[:1])
    coded = ImageCodec(vqvae, prior).compress(images[:1])
    with pytest.raises(ValueError, match="another model"):
        ImageCodec(new_vqvae()).decompress(packed)
    with pytest.raises(ValueError, match="`prior` must be the prior"):
        ImageCodec(vqvae).decompress(coded)
    with pytest.raises(ValueError, match="another prior"):
        ImageCodec(vqvae, other).decompress(coded)
    # Packed files can be read with and without a prior.
    assert len(ImageCodec(vqvae, prior).decompress(packed)) == 1


def test_other_probabilities_than_in_encoding_are_noticed(vqvae, images, monkeypatch):
    prior = PixelCNNPrior.for_model(vqvae, hidden_dim=8, num_layers=1)
    codec = ImageCodec(vqvae, prior)
    data = codec.compress(images)
    honest = prior._apply_to_batch

    def elsewhere(method, inputs, **options):
        made = honest(method, inputs, **options)
        return made[:, ::-1] * 3 if method == prior._stage_logits_batch else made

    monkeypatch.setattr(prior, "_apply_to_batch", elsewhere)
    with pytest.raises(ValueError, match="other probabilities"):
        codec.decompress_codes(data)


@pytest.mark.backend_free
def test_changed_codes_of_a_packed_file_do_not_blame_a_prior(vqvae, images):
    header, payload = container.read_file(ImageCodec(vqvae).compress(images))
    data = container.write_file(header, bytes([payload[0] ^ 1]) + payload[1:])
    with pytest.raises(CorruptFileError, match="is damaged") as caught:
        ImageCodec(vqvae).decompress(data)
    assert "prior" not in str(caught.value)


@pytest.mark.backend_free
def test_a_changed_header_is_noticed_where_its_codes_are_decoded(vqvae, images):
    """The outer checksum is valid, as in a deliberately modified file."""
    header, payload = container.read_file(ImageCodec(vqvae).compress(images, ["a", "b", "c"]))
    for changed in (
        header._replace(image_shapes=((8, 8), (13, 22), (3, 30))),
        header._replace(names=("a", "b", "d")),
        header._replace(model_origin="elsewhere"),
    ):
        with pytest.raises(CorruptFileError, match="checksum of the codes does not match"):
            ImageCodec(vqvae).decompress(container.write_file(changed, payload))


@pytest.mark.backend_free
@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("grid_shape", (1, 2), "The code shape of the file"),
        ("codebook_sizes", (15,), "The codebook sizes of the file"),
        ("tile_shape", (8, 16), "The tile shape of the file"),
        ("channels", 1, "The channels of the file"),
    ],
)
def test_a_file_of_another_kind_than_its_model(vqvae, images, field, value, message):
    header, _ = container.read_file(ImageCodec(vqvae).compress(images))
    header = header._replace(**{field: value})
    data = container.write_file(header, bytes(container.shortest_payload(header)))
    with pytest.raises(CorruptFileError, match=message):
        ImageCodec(vqvae).decompress(data)


@pytest.mark.backend_free
def test_the_limit_of_pixels_holds_for_writing_and_for_reading(vqvae, images):
    # 1 + 6 + 4 tiles of 64 pixels.
    data = ImageCodec(vqvae, max_pixels=704).compress(images)
    assert len(ImageCodec(vqvae, max_pixels=704).decompress(data)) == 3
    codec = ImageCodec(vqvae, max_pixels=703)
    for call in (lambda: codec.decompress(data), lambda: codec.compress(images)):
        with pytest.raises(ValueError, match=r"703 pixels.*increase `max_pixels`.*704 pixels"):
            call()


@pytest.mark.backend_free
def test_fingerprints_are_compared_before_anything_is_decoded(vqvae, monkeypatch):
    """For a file of another model, only the header is read."""
    codec = ImageCodec(vqvae)
    header, _ = container.read_file(codec.compress(np.zeros((1, 8, 8, 3), "float32")))
    header = header._replace(model=bytes(8), image_shapes=((8, 8),) * 2**20)
    data = container.write_file(header, bytes(container.shortest_payload(header)))
    monkeypatch.setattr(container, "unpacked", None)
    monkeypatch.setattr(vqvae, "decode", None)
    with pytest.raises(ValueError, match="another model"):
        codec.decompress(data)


@pytest.mark.backend_free
def test_a_file_names_where_its_model_and_prior_came_from(vqvae, images):
    prior = TransformerPrior.for_model(vqvae, hidden_dim=8, num_layers=1, num_heads=2)
    codec = ImageCodec(vqvae, prior, model_origin="run a\x1b", prior_origin="prior.keras")
    data = codec.compress(images[:1])
    with pytest.raises(ValueError, match=r"\(recorded name: 'run a\\x1b'\)"):
        ImageCodec(new_vqvae()).decompress(data)
    with pytest.raises(ValueError, match=r"`prior` must be the prior.*'prior.keras'"):
        ImageCodec(vqvae).decompress(data)
    with pytest.raises(ValueError, match="at most 64 bytes"):
        ImageCodec(vqvae, model_origin="é" * 33)


@pytest.mark.backend_free
@pytest.mark.parametrize(("batch_size", "stored"), [(1, 16), (100, 64), (5000, 1024)])
def test_the_batch_size_of_a_prior_is_a_power_of_two(vqvae, images, batch_size, stored):
    prior = TransformerPrior.for_model(vqvae, hidden_dim=8, num_layers=1, num_heads=2)
    header = ImageCodec(vqvae, prior, batch_size)._header(images[:1], None)
    assert header.batch_size == stored


def test_a_spoilt_prior_is_noticed(vqvae, images):
    prior = PixelCNNPrior.for_model(vqvae, hidden_dim=8, num_layers=1)
    prior.code_heads.logits[0].bias.assign(np.full(16, np.nan))
    with pytest.raises(ValueError, match="must predict finite probabilities"):
        ImageCodec(vqvae, prior).compress(images)


@pytest.mark.backend_free
@pytest.mark.parametrize(
    ("images", "names", "message"),
    [
        ([], None, "at least one image"),
        ([np.zeros((8, 8, 1), "float32")], None, r"shape \(height, width, 3\).* at index 0"),
        ([np.zeros((8, 8, 3), "uint8")], None, "float arrays"),
        ([np.full((8, 8, 3), 2.0)], None, r"in \[0, 1\]"),
        ([np.full((8, 8, 3), np.nan)], None, r"in \[0, 1\]"),
        ([np.zeros((8, 8, 3))], ["a", "b"], "one name per image, 1"),
        ([np.zeros((8, 8, 3))], ["a" * 1024], "at most 1023 bytes"),
        ([np.zeros((8, 8, 3))], ["\udcff.png"], "bytes in UTF-8"),
        ([np.zeros((8, 8, 3))], [7], "must be a string"),
    ],
)
def test_images_that_cannot_be_compressed(vqvae, images, names, message):
    with pytest.raises(ValueError, match=message):
        ImageCodec(vqvae).compress(images, names)


@pytest.mark.backend_free
def test_priors_that_do_not_fit(vqvae):
    with pytest.raises(ValueError, match="autoregressive prior"):
        ImageCodec(vqvae, MaskedPrior.for_model(vqvae, hidden_dim=8, num_layers=1, num_heads=2))
    with pytest.raises(ValueError, match="code shape and codebook sizes of the model"):
        ImageCodec(vqvae, PixelCNNPrior(16, (3, 3), hidden_dim=8, num_layers=1))


@pytest.mark.backend_free
def test_models_that_are_refused():
    networks = keras_vq.networks.hierarchical((8, 8, 3))
    two_levels = keras_vq.VQVAE2(*networks, *(keras_vq.VectorQuantizer(8) for _ in range(2)))
    encoder, decoder = keras_vq.networks.transformer_sequence((8, 3), hidden_dim=8, num_heads=2)
    sequences = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(8), decoder)
    vae = keras_vq.VAE.from_preset("vae_mnist")
    for model in (vae, two_levels, sequences):
        with pytest.raises(ValueError, match="must be a built VQVAE"):
            ImageCodec(model)
