"""Tests that assigned hyperparameters have an effect on the next compiled step."""

import copy
import inspect
import pkgutil
from importlib import import_module

import keras
import numpy as np
import pytest
from keras import ops

import keras_vq
from keras_vq import (
    DeadCodeRestart,
    EMACodebook,
    FiniteScalarQuantizer,
    GradientCodebook,
    GumbelSoftmaxQuantizer,
    ImplicitNeuralQuantizer,
    IndexBackpropagationQuantizer,
    LatentQuantizer,
    LookupFreeQuantizer,
    MultiScaleQuantizer,
    OnlineClustering,
    ProjectedCodebook,
    ResidualQuantizer,
    SGDCodebook,
    VectorQuantizer,
)
from keras_vq._configurable import Configurable
from keras_vq._hyperparameter import Hyperparameter
from keras_vq.estimators import Directional, Synchronized
from keras_vq.losses import CrossEntropyCommitmentLoss, EntropyLoss
from keras_vq.models.gaussian_latents import GaussianLatentModel
from tests.models.cases import MODEL_CASES
from tests.models.checks import random_states_of, weights_of

IMAGE_SHAPE = (8, 8, 1)
VECTORS = np.random.default_rng(5).normal(size=(8, 2, 2, 4)).astype("float32")
IMAGES = np.random.default_rng(6).random((8, *IMAGE_SHAPE), "float32")
GRIDS = np.random.default_rng(7).integers(0, 3, (16, 2, 2))

QUANTIZERS = {
    "ema": lambda: VectorQuantizer(
        codebook=EMACodebook(8, decay=0.9, epsilon=0.05, restart=DeadCodeRestart(0.3), seed=1),
        temperature=2.0,
        entropy_loss=EntropyLoss(0.1, 0.2, 1.0),
        seed=2,
    ),
    "gradient": lambda: VectorQuantizer(
        codebook=GradientCodebook(
            8,
            restart=OnlineClustering(),
            regularizer=keras_vq.regularizers.Orthogonality(0.5),
            seed=1,
        ),
        commitment_weight=0.2,
        commitment_loss=CrossEntropyCommitmentLoss(),
        estimator=Synchronized(0.5),
    ),
    "step": lambda: VectorQuantizer(codebook=SGDCodebook(8, learning_rate=5.0)),
    "projected_codebook": lambda: VectorQuantizer(
        codebook=ProjectedCodebook(8), estimator=Directional(0.1, seed=3)
    ),
    "binary": lambda: LookupFreeQuantizer(entropy_loss=None),
    "latent": lambda: LatentQuantizer([4] * 4),
    "finite": lambda: FiniteScalarQuantizer([4] * 4, noise=0.3, seed=4),
    "categorical": lambda: GumbelSoftmaxQuantizer(8, temperature=1.0, kl_weight=0.1, seed=4),
    "index_backpropagation": lambda: IndexBackpropagationQuantizer(8, entropy_loss=None),
    "conditioned": lambda: ImplicitNeuralQuantizer(8),
    "residual": lambda: ResidualQuantizer(
        [VectorQuantizer(codebook=EMACodebook(4))] * 2, dropout=1.0, seed=6
    ),
    "multi_scale": lambda: MultiScaleQuantizer(
        VectorQuantizer(codebook=EMACodebook(8)), scales=[1, 2], num_phi=1
    ),
}


def vae():
    networks = keras_vq.networks.dense(
        IMAGE_SHAPE, units=(8,), latent_dim=None, output_activation="sigmoid"
    )
    return keras_vq.VAE(*networks, latent_dim=3, beta=0.5, free_bits=0.01, seed=3)


def vqgan():
    # The adversarial loss is enabled from the first step.
    config = next(case for case in MODEL_CASES if case.id == "vqgan").build().get_config()
    return keras_vq.VQGAN.from_config({**config, "discriminator_start": 0})


def prior():
    return keras_vq.priors.PixelCNNPrior(
        3, (2, 2), num_classes=2, label_dropout=0.9, hidden_dim=8, num_layers=1, seed=0
    )


MODELS = {"vae": vae, "vqgan": vqgan, "prior": prior}
# Values for scalars of which half the value may have no effect on one step.
NEW_VALUES = {
    ("VectorQuantizer", "temperature"): 1e-6,
    ("ResidualQuantizer", "dropout"): 1e-6,
    ("PixelCNNPrior", "label_dropout"): 0.0,
    ("VAE", "free_bits"): 3.0,
    ("VAE", "kl_warmup_steps"): 4,
    ("VQGAN", "discriminator_start"): 4,
}


# Rows that test only scalars of one class; other rows test those of its parts.
OWNERS = {
    "residual": ResidualQuantizer,
    "multi_scale": MultiScaleQuantizer,
    "vqgan": keras_vq.VQGAN,
}


def hyperparameters_of(row, root):
    """Returns pairs (object, name) of active scalars of a layer, its sublayers and their parts."""
    found = {}
    for layer in keras_vq.backend.nested_layers(root):
        for owner in (layer, *vars(layer).values()):
            if isinstance(owner, Configurable) and isinstance(owner, OWNERS.get(row, object)):
                for name, attribute in inspect.getmembers_static(type(owner), is_hyperparameter):
                    is_active = not attribute.zero_is_off or getattr(owner, name) > 0
                    if attribute not in OF_INFERENCE and is_active:
                        found[id(owner), name] = owner, name
    return list(found.values())


# Scalars of inference, which have tests of their own.
OF_INFERENCE = (
    vars(keras_vq.priors.MaskedPrior)["choice_temperature"],
    vars(GaussianLatentModel)["latent_shift"],
    vars(GaussianLatentModel)["latent_scale"],
)


def is_hyperparameter(attribute):
    return isinstance(attribute, Hyperparameter)


def around(quantizer):
    """Returns a model with a layer before the quantizer, so that gradients have an effect."""
    inputs = keras.Input(VECTORS.shape[1:])
    quantized, _ = quantizer(keras.layers.Dense(4, name="before")(inputs))
    return keras.Model(inputs, quantized)


class Step:
    """Repeatable step of gradient descent from a fixed state."""

    def __init__(self, name):
        self.data = {}
        if name in QUANTIZERS:
            self.model = around(QUANTIZERS[name]())
            self.data = {"x": VECTORS, "y": VECTORS[::-1].copy()}
            self.loss = "mse"
        else:
            self.model, self.loss = MODELS[name](), None
            self.data = {"x": IMAGES}
        if name == "prior":
            labels = np.arange(len(GRIDS)) % 2
            self.data = {"x": self.model.as_inputs(GRIDS, labels)}
        self.compile()
        if not self.model.built:
            self.model.build((None, *IMAGE_SHAPE))
        if name in MODELS and hasattr(self.model, "measured_data_variance"):
            self.model.measured_data_variance.assign(1.0)
        self.weights = weights_of(self.model)
        self.random = random_states_of(self.model)

    def compile(self):
        self.model.compile(keras.optimizers.SGD(0.1), loss=self.loss)

    def run(self, model=None):
        """Returns loss and weights after one step from the initial state."""
        model = model or self.model
        model.set_weights(self.weights)
        states = [v for v in model.variables if "seed_generator" in v.path]
        for variable, state in zip(states, self.random, strict=True):
            variable.assign(state)
        model.reset_metrics()
        loss = model.train_on_batch(**self.data)
        return [np.asarray(loss, "float64").ravel()[:1], *weights_of(model)]

    def with_new_configuration(self):
        """Returns a new model with the current configuration, compiled with the same loss."""
        quantizer = next((q for q in self.model.layers if q.__class__ in quantizer_classes()), None)
        if self.loss is None:
            config = self.model.get_config()
            model = type(self.model).from_config(config)
            if not model.built:
                model.build((None, *IMAGE_SHAPE))
        else:
            model = around(type(quantizer).from_config(quantizer.get_config()))
        model.compile(keras.optimizers.SGD(0.1), loss=self.loss)
        return model


def quantizer_classes():
    return {type(build()) for build in QUANTIZERS.values()}


def largest_difference(one, other):
    return max(np.abs(a - b).max() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", [*QUANTIZERS, *MODELS])
def test_new_values_have_an_effect_on_the_next_compiled_step(name):
    step = Step(name)
    before = step.run()
    pairs = hyperparameters_of(name, step.model)
    assert pairs
    new_values = []
    for owner, scalar in pairs:
        old = getattr(owner, scalar)
        new = NEW_VALUES.get((type(owner).__name__, scalar), old / 2 or 0.3)
        setattr(owner, scalar, new)
        assert getattr(owner, scalar) == new
        assert type(getattr(owner, scalar)) is type(old)
        what = f"{type(owner).__name__}.{scalar}"
        assert largest_difference(step.run(), before) > 1e-6, f"{what} is a constant of the step"
        setattr(owner, scalar, old)
        new_values.append(new)
    assert largest_difference(step.run(), before) < 1e-6

    for (owner, scalar), new in zip(pairs, new_values, strict=True):
        setattr(owner, scalar, new)
    changed = step.run()
    # Compare with a model constructed with the new values.
    expected = step.run(step.with_new_configuration())
    for one, other in zip(changed, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.backend_free
def test_table_has_every_hyperparameter_of_the_package():
    for module in pkgutil.walk_packages(keras_vq.__path__, "keras_vq."):
        if "by_triton" not in module.name and "by_pallas" not in module.name:
            import_module(module.name)
    classes = [Configurable]
    for cls in classes:
        classes += cls.__subclasses__()
    defined = {
        attribute
        for cls in classes
        if cls.__module__.startswith("keras_vq.")
        for attribute in vars(cls).values()
        if is_hyperparameter(attribute)
    }
    tested = {
        inspect.getattr_static(type(owner), name)
        for row, build in {**QUANTIZERS, **MODELS}.items()
        for owner, name in hyperparameters_of(row, build())
    }
    assert {attribute.name for attribute in defined - tested - set(OF_INFERENCE)} == set()


def test_choice_temperature_has_an_effect_on_samples():
    prior = keras_vq.priors.MaskedPrior(
        3,
        (4, 4),
        hidden_dim=8,
        num_layers=1,
        num_heads=2,
        sampling_steps=3,
        choice_temperature=0.0,
        seed=0,
    )
    before = prior.generate(16, seed=1)
    prior.choice_temperature = 50.0
    after = prior.generate(16, seed=1)
    assert (before != after).any()
    prior.choice_temperature = 0.0
    np.testing.assert_array_equal(prior.generate(16, seed=1), before)


def test_beta_changes_between_epochs_of_fit():
    model = vae()
    model.compile(keras.optimizers.SGD(1e-3))
    model.free_bits = 0.0
    # Between epochs any reference to the model works; on JAX, only `self.model` within one.
    betas = [0.5, 0.0, 2.0]
    change = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: setattr(model, "beta", betas[epoch])
    )
    history = model.fit(IMAGES, epochs=3, batch_size=4, callbacks=[change], verbose=0).history
    weights = np.subtract(history["loss"], history["reconstruction_loss"]) / history["kl_loss"]
    np.testing.assert_allclose(weights, betas, atol=1e-4)
    assert model.beta == 2.0
    assert model.get_config()["beta"] == 2.0


def test_beta_changes_between_batches_through_the_model_of_a_callback():
    class Change(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.beta = 7.0

    model = vae()
    model.compile(keras.optimizers.SGD(0.0))
    history = model.fit(IMAGES, epochs=2, batch_size=4, callbacks=[Change()], verbose=0).history
    assert model.beta == 7.0
    change = history["loss"][1] - history["reconstruction_loss"][1]
    np.testing.assert_allclose(change, 7.0 * history["kl_loss"][1], rtol=0.05)


def test_state_within_an_epoch_is_not_lost_without_an_error():
    model = vae()
    model.compile(keras.optimizers.SGD(0.0))
    change = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: setattr(model, "beta", 3.0)
    )
    if keras.backend.backend() == "jax":
        with pytest.raises(RuntimeError, match=r"self\.model"):
            model.fit(IMAGES, batch_size=4, callbacks=[change], verbose=0)
        assert model.beta == 0.5
    else:
        model.fit(IMAGES, batch_size=4, callbacks=[change], verbose=0)
        assert model.beta == 3.0


def test_values_are_saved_in_the_configuration_alone(tmp_path):
    model = vae()
    assert len(model.weights) == len(model.get_weights())
    assert not any("beta" in weight.path for weight in model.weights)
    parameters = model.count_params()
    model.beta, model.kl_warmup_steps = 0.125, 6
    assert model.count_params() == parameters
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    again = keras_vq.load_model(tmp_path / "model.keras")
    assert (again.beta, again.kl_warmup_steps) == (0.125, 6)
    # Weights files do not contain the values.
    other = vae()
    other.load_weights(tmp_path / "model.weights.h5")
    assert other.beta == 0.5
    twin = keras.models.clone_model(model)
    assert twin.beta == 0.125
    twin.beta = 1.0
    assert model.beta == 0.125


def test_copies_have_values_of_their_own():
    quantizer = QUANTIZERS["ema"]()
    twin = copy.deepcopy(quantizer)
    twin.entropy_loss.batch_weight = 0.9
    twin.temperature = 0.25
    assert (quantizer.entropy_loss.batch_weight, quantizer.temperature) == (0.2, 2.0)


@pytest.mark.backend_free
def test_assigned_values_are_checked_as_the_constructor_does():
    quantizer = QUANTIZERS["ema"]()
    for owner, name, value in (
        (quantizer.codebook, "decay", 1.0),
        (quantizer.codebook, "epsilon", 0.0),
        (quantizer.codebook.restart, "threshold", 1.5),
        (quantizer.entropy_loss, "temperature", 0.0),
        (quantizer, "commitment_weight", -1.0),
        (quantizer, "temperature", "warm"),
    ):
        old = getattr(owner, name)
        with pytest.raises(ValueError, match="must be"):
            setattr(owner, name, value)
        assert getattr(owner, name) == old


@pytest.mark.backend_free
@pytest.mark.parametrize(
    ("build", "name", "value"),
    [
        (QUANTIZERS["ema"], "metric", "cosine"),
        (QUANTIZERS["ema"], "commitment_loss", None),
        (QUANTIZERS["ema"], "entropy_loss", None),
        (QUANTIZERS["ema"], "estimator", "rotation_trick"),
        (QUANTIZERS["latent"], "levels", [8] * 4),
        (QUANTIZERS["categorical"], "hard", True),
        (QUANTIZERS["multi_scale"], "scales", [2]),
        (lambda: EMACodebook(8), "codebook_size", 16),
        (lambda: EMACodebook(8), "restart", DeadCodeRestart()),
        (lambda: keras_vq.layers.TransformerBlock(2), "dropout", 0.5),
        (vae, "latent_dim", 5),
        (prior, "dropout", 0.5),
        # Not part of a layer, so compiled steps would not use the change.
        (lambda: EntropyLoss(), "batch_weight", 1.0),
        (lambda: keras_vq.regularizers.Orthogonality(), "weight", 2.0),
        # The constructor omitted the term because of the value 0.
        (lambda: VectorQuantizer(8), "temperature", 0.5),
        (QUANTIZERS["index_backpropagation"], "codebook_size", 16),
    ],
)
def test_other_arguments_can_not_be_assigned(build, name, value):
    made = build()
    with pytest.raises(AttributeError):
        setattr(made, name, value)


@pytest.mark.backend_free
def test_temperature_that_follows_a_schedule_can_not_be_assigned():
    schedule = keras.optimizers.schedules.CosineDecay(1.0, 10)
    quantizer = GumbelSoftmaxQuantizer(8, temperature=schedule)
    with pytest.raises(AttributeError, match="schedule"):
        quantizer.temperature = 0.5
    assert quantizer.temperature is schedule


@pytest.mark.backend_free
def test_temperature_lowered_to_zero_gives_the_nearest_codes():
    quantizer = VectorQuantizer(codebook=EMACodebook(8), temperature=5.0, seed=0)
    drawn = ops.convert_to_numpy(quantizer(VECTORS, training=True)[1])
    quantizer.codebook.decay = 0.0
    quantizer.trainable = False
    quantizer.temperature = 0.0
    nearest = ops.convert_to_numpy(quantizer(VECTORS, training=False)[1])
    np.testing.assert_array_equal(quantizer(VECTORS, training=True)[1], nearest)
    assert (drawn != nearest).any()
