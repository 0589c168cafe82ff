"""Tests of the public API: docstring examples that run, and rows in the case tables."""

import doctest
import inspect

import keras
import pytest

import keras_vq
from keras_vq import (
    callbacks,
    codebooks,
    codec,
    data,
    encoding,
    estimators,
    export,
    layers,
    losses,
    metrics,
    models,
    networks,
    ops,
    plots,
    pretrained,
    priors,
    quantizers,
    regularizers,
)
from tests.models.cases import MODEL_CASES
from tests.quantizers.cases import QUANTIZER_CASES

pytestmark = pytest.mark.backend_free

ROOMS = (
    callbacks,
    codebooks,
    codec,
    data,
    encoding,
    estimators,
    export,
    layers,
    losses,
    metrics,
    models,
    networks,
    ops,
    plots,
    pretrained,
    priors,
    quantizers,
    regularizers,
)
ABSTRACT = (
    codebooks.Codebook,
    codebooks.RestartRule,
    estimators.Estimator,
    losses.AdversarialLoss,
    losses.NegativeLogLikelihood,
    quantizers.Quantizer,
    models.CodeModel,
    models.ReconstructionModel,
    priors.CodePrior,
)
PUBLIC = {f"{room.__name__}.{name}": getattr(room, name) for room in ROOMS for name in room.__all__}


def is_abstract_or_error(thing):
    return thing in ABSTRACT or (inspect.isclass(thing) and issubclass(thing, Exception))


@pytest.mark.parametrize("name", sorted(name for name in PUBLIC if callable(PUBLIC[name])))
def test_docstring_has_an_example_that_runs(name):
    """Doctests run the examples."""
    examples = doctest.DocTestParser().get_examples(PUBLIC[name].__doc__ or "")
    runs = [each for each in examples if not each.options.get(doctest.SKIP)]
    assert len(runs) > 1 or name == "keras_vq.pretrained.from_pretrained"  # needs a download


def test_top_level_names_are_those_of_the_rooms():
    for name in keras_vq.__all__:
        thing = getattr(keras_vq, name)
        if not inspect.ismodule(thing):
            assert thing in PUBLIC.values(), name


@pytest.mark.parametrize(
    "name",
    [
        "callbacks.CollapseWarning",
        "data.ImageBatches",
        "estimators.Estimator",
        "losses.AdversarialLoss",
        "models.CodeModel",
        "models.NonFiniteWeightsWarning",
        "models.ReconstructionModel",
        "priors.CodePrior",
        "priors.HierarchicalPrior",
    ],
)
def test_names_that_users_catch_pass_on_or_subclass_are_public(name):
    room, thing = name.split(".")
    assert thing in getattr(keras_vq, room).__all__
    assert hasattr(getattr(keras_vq, room), thing)


def test_every_model_has_a_case():
    built = {type(case.build()) for case in MODEL_CASES}
    concrete = {getattr(models, name) for name in models.__all__}
    concrete = {
        thing
        for thing in concrete
        if inspect.isclass(thing)
        and issubclass(thing, models.ReconstructionModel)
        and not is_abstract_or_error(thing)
    }
    assert built == concrete


def test_every_quantizer_and_codebook_has_a_case():
    built = [case.build() for case in QUANTIZER_CASES]
    kinds = {type(quantizer) for quantizer in built}
    assert kinds == {getattr(quantizers, name) for name in quantizers.__all__} - set(ABSTRACT)
    used = [quantizer.codebook for quantizer in built if hasattr(quantizer, "codebook")]
    kinds = {type(codebook) for codebook in used}
    kinds |= {type(codebook.restart) for codebook in used if codebook.restart is not None}
    public = {getattr(codebooks, name) for name in codebooks.__all__}
    assert kinds == {thing for thing in public if inspect.isclass(thing)} - set(ABSTRACT)


def public_names(cls, base):
    """Returns the public attributes of a class that its Keras base class lacks."""
    return {name for name in set(dir(cls)) - set(dir(base)) if not name.startswith("_")}


def test_surface_of_a_model_and_a_quantizer():
    assert public_names(keras_vq.VQVAE, keras.Model) == {
        "adapt",
        "code_shape",
        "codebook_sizes",
        "decode",
        "decode_quantized",
        "encode",
        "encode_latents",
        "encode_quantized",
        "from_preset",
        "generate",
        "input_shape",
        "interpolate",
        "presets",
        "reconstruct",
        "save_to_preset",
        "signatures",
        "trainable_parts",
    }
    assert public_names(keras_vq.VectorQuantizer, keras.Layer) == {
        "adapt",
        "bits_per_vector",
        "code_shape",
        "code_vectors",
        "codebook_size",
        "codebook_sizes",
        "commitment_weight",
        "cross_entropy",
        "decode",
        "encode",
        "nearest_codes",
        "set_embeddings",
        "temperature",
    }


KERAS_CLASSES = [
    thing
    for thing in PUBLIC.values()
    if inspect.isclass(thing) and any(base.__module__.startswith("keras.") for base in thing.mro())
]


@pytest.mark.parametrize("cls", KERAS_CLASSES, ids=lambda cls: cls.__name__)
def test_overrides_keep_the_signature_of_keras(cls):
    theirs = next(base for base in cls.mro() if base.__module__.startswith("keras."))
    for name in dir(theirs):
        method, overridden = (inspect.getattr_static(kind, name) for kind in (cls, theirs))
        method, overridden = (getattr(each, "__func__", each) for each in (method, overridden))
        if name.startswith("_") or method is overridden or not inspect.isfunction(method):
            continue
        if name in ("train_step", "test_step"):
            continue  # on JAX they receive the state too
        if name in ("build", "update_state") or "*args" in str(inspect.signature(overridden)):
            continue  # named after the arguments of `call`, as in the layers of Keras
        ours, expected = (
            [p for p in inspect.signature(each).parameters.values() if p.kind is not p.VAR_KEYWORD]
            for each in (method, overridden)
        )
        assert [p.name for p in ours[: len(expected)]] == [p.name for p in expected], (
            f"{cls.__name__}.{name}"
        )
        required = sum(p.default is p.empty for p in expected)
        assert all(p.default is not p.empty for p in ours[required:]), f"{cls.__name__}.{name}"


REGISTRIES = {
    "codebooks": (codebooks, codebooks.Codebook, {"codebook_size": 8, "learning_rate": 1.0}),
    "restart": (codebooks.restart, codebooks.RestartRule, {}),
    "losses": (losses, object, {"feature_network": keras.layers.Dense(4)}),
    "estimators": (estimators, object, {}),
}


@pytest.mark.parametrize("name", REGISTRIES)
def test_objects_by_name_and_configuration(name):
    namespace, base, arguments = REGISTRIES[name]
    members = namespace._REGISTRY.members
    public = {getattr(namespace, each) for each in getattr(namespace, "__all__", ())}
    classes = {thing for thing in public if inspect.isclass(thing) and issubclass(thing, base)}
    assert classes - set(ABSTRACT) - {
        codebooks.DeadCodeRestart,
        codebooks.OnlineClustering,
        losses.AdversarialLoss,
    } <= set(members.values())
    for key, member in members.items():
        assert key == key.lower()
        accepted = inspect.signature(member).parameters if inspect.isclass(member) else {}
        given = {each: value for each, value in arguments.items() if each in accepted}
        thing = namespace.get(key, **given)
        assert thing is member or type(thing) is member
        assert namespace.get(thing) is thing
        again = namespace.deserialize(namespace.serialize(thing))
        assert type(again) is type(thing)
    assert namespace.get(None) is None
    with pytest.raises(ValueError, match=r"must be one of .*Received: 'no_such_name'"):
        namespace.get("no_such_name")


@pytest.mark.parametrize(
    ("cls", "argument", "right"),
    [
        (keras_vq.VectorQuantizer, "num_embeddings", "Use `codebook_size`"),
        (keras_vq.VectorQuantizer, "commitment_cost", "Use `commitment_weight`"),
        (keras_vq.VectorQuantizer, "beta", "Use `commitment_weight`"),
        (keras_vq.VectorQuantizer, "embedding_dim", "is inferred from the inputs"),
        (keras_vq.EMACodebook, "num_embeddings", "Use `codebook_size`"),
        (keras_vq.EMACodebook, "decya", "Did you mean 'decay'"),
        (priors.PixelCNNPrior, "depth", "Use `num_layers`"),
        (priors.TransformerPrior, "heads", "Use `num_heads`"),
        (priors.GaussianMixturePrior, "components", "Use `n_components`"),
        (codebooks.DeadCodeRestart, "treshold", "Did you mean 'threshold'"),
    ],
)
def test_names_of_other_libraries_are_answered_with_the_right_one(cls, argument, right):
    with pytest.raises(TypeError, match=rf"{cls.__name__} has no argument `{argument}`.*{right}"):
        cls(**{argument: 1})


def test_size_or_codebook():
    assert keras_vq.VectorQuantizer(8, codebook="gradient_codebook").codebook_size == 8
    for arguments, message in (
        ({}, "`codebook_size` must be an integer"),
        (
            {"codebook_size": 8, "codebook": keras_vq.EMACodebook(8)},
            "must be None if `codebook` is an object",
        ),
        ({"codebook_size": keras_vq.EMACodebook(8)}, r"VectorQuantizer\(codebook=EMACodebook"),
        ({"codebook": 8}, r"VectorQuantizer\(8\)"),
        ({"codebook": "ema_codebook"}, "`codebook_size` must be an integer"),
    ):
        with pytest.raises(ValueError, match=message):
            keras_vq.VectorQuantizer(**arguments)
