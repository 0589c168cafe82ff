"""Tests of the backend modules and of the private names that they use."""

import ast
import copy
import sys
import types
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from keras_vq import backend
from keras_vq.backend import _private

FOLDER = Path(backend.__file__).parent
NAMES = ("tensorflow", "jax", "torch")


def tree_of(name):
    return ast.parse((FOLDER / f"{name}.py").read_text())


def signatures(name):
    """Returns the arguments, the result type and the decorators of each public function."""
    return {
        node.name: [
            ast.unparse(node.args),
            ast.unparse(node.returns),
            *map(ast.unparse, node.decorator_list),
        ]
        for node in tree_of(name).body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    }


@pytest.mark.backend_free
@pytest.mark.parametrize("name", NAMES[1:])
def test_backends_have_the_same_functions(name):
    assert signatures(name) == signatures(NAMES[0])


@pytest.mark.backend_free
@pytest.mark.parametrize("name", NAMES)
def test_all_public_functions_are_exported(name):
    (exported,) = (
        ast.literal_eval(node.value)
        for node in tree_of(name).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets) == "__all__"
    )
    assert exported == ["NAME", *sorted(signatures(name))]


def test_name():
    assert keras.backend.backend() == backend.NAME


class Nest(keras.Layer):
    def __init__(self, *layers):
        super().__init__()
        self.first, *self.others = layers


def test_nested_layers():
    a, b, c = (keras.layers.Identity() for _ in range(3))
    inner = Nest(a, b)
    outer = Nest(inner, a, c)
    assert backend.nested_layers(outer) == [outer, inner, a, b, c]
    model = keras.Sequential([a, keras.Sequential([b, c])])
    assert backend.nested_layers(model) == [model, a, model.layers[1], b, c]


def test_nested_layers_without_private_names():
    a, b, c = (keras.layers.Identity() for _ in range(3))
    layer = types.SimpleNamespace(first=a, others=[b, {"c": c}], name="n", _owner=Nest(a))
    assert _private._children(layer) == [a, b, c]


@pytest.mark.parametrize("loss", ["mse", keras.losses.mean_squared_error, "MeanSquaredError"])
def test_compiled_loss(loss, rng):
    target, prediction = rng.normal(size=(2, 4, 3)).astype("float32")
    weight = np.arange(4, dtype="float32")
    model = keras.Model()
    model.compile(loss=loss)
    for compiled in (model, types.SimpleNamespace(loss=loss)):  # the second has no private names
        for weights in (None, weight):
            found = backend.compiled_loss(compiled, target, prediction, weights)
            squares = ((target - prediction) ** 2).mean(1)
            expected = squares.mean() if weights is None else (squares * weights).mean()
            np.testing.assert_allclose(ops.convert_to_numpy(found), expected, rtol=1e-5)


def test_copies_of_a_layer_have_no_losses():
    layer = keras.layers.Dense(1)
    backend.isolate_losses(layer)
    layer.build((None, 2))
    layer.add_loss(ops.sum(layer.kernel))
    assert len(layer.losses) == 1
    assert copy.deepcopy(layer._losses)[:] == []
    without_list = types.SimpleNamespace()
    backend.isolate_losses(without_list)
    assert vars(without_list) == {}


def test_losses_of_replicas_are_separate():
    replicas = []
    losses = _private.LayerLosses(lambda: max(len(replicas), 1))
    losses.extend([1.0])
    assert losses[:] == [1.0]
    replicas += [0, 1]
    assert losses[:] == []
    losses.extend([2.0])
    losses.clear()
    assert losses[:] == []


def test_values_of_variables_are_attached():
    variable = keras.Variable(2.0)
    assert not backend.has_detached_value(variable)
    assert not _private.has_detached_value(object())


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="JAX moves values out of variables")
def test_detached_values_are_attached_again():
    variables = [keras.Variable(value) for value in (1.0, 2.0)]
    values = _private.attached_values(variables)
    variables[0]._value = None
    assert _private.attached_values(variables)[0] is None
    _private.attach_values(types.SimpleNamespace(), variables, values)
    assert [float(variable.value) for variable in variables] == [1.0, 2.0]


def test_assignment_under_a_condition():
    variables = [keras.Variable([1.0, 2.0]), keras.Variable(3, trainable=False)]
    values = [ops.convert_to_tensor([5.0, 6.0]), ops.convert_to_tensor(7)]
    for condition, expected in ((False, [[1.0, 2.0], 3]), (True, [[5.0, 6.0], 7])):
        backend.assign_if(variables, values, ops.convert_to_tensor(condition))
        assert [ops.convert_to_numpy(v).tolist() for v in variables] == expected


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="private modules of TensorFlow")
def test_missing_private_modules_of_tensorflow(monkeypatch):
    import tensorflow as tf
    from tensorflow.compiler.tf2xla import python as xla_package
    from tensorflow.python import ops as ops_package

    for package, name in ((ops_package, "control_flow_util"), (xla_package, "xla")):
        monkeypatch.delattr(package, name, raising=False)
        monkeypatch.setitem(sys.modules, f"{package.__name__}.{name}", None)

    @tf.function(jit_compile=True)
    def barrier(x):
        assert not backend.has_operator_fusion()
        assert _private.xla_optimization_barrier(x) is x
        return x

    assert float(barrier(tf.constant(2.0))) == 2.0


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="strategies of TensorFlow")
def test_strategy_without_autotune():
    import tensorflow as tf

    strategy = tf.distribute.get_strategy()
    wrapped = backend.strategy_without_autotune(strategy)
    assert isinstance(wrapped, type(strategy))
    assert wrapped.num_replicas_in_sync == 1
    data = wrapped.experimental_distribute_dataset(tf.data.Dataset.range(3))
    assert data.options().autotune.enabled is False
    assert [int(value) for value in data] == [0, 1, 2]


@pytest.mark.parametrize(("size", "strides"), [(3, (2, 2)), (4, (2, 1))])
def test_transposed_convolution_is_that_of_keras(size, strides, rng):
    layer = keras.layers.Conv2DTranspose(5, size, strides, "same", data_format="channels_last")
    images = rng.normal(size=(2, 4, 6, 3)).astype("float32")
    expected = layer(images)
    bias = ops.convert_to_tensor(np.arange(5, dtype="float32"))
    kernel = ops.convert_to_tensor(layer.kernel)
    for added in (None, bias):
        found = backend.conv_transpose_same(ops.convert_to_tensor(images), kernel, added, strides)
        np.testing.assert_allclose(
            ops.convert_to_numpy(found),
            ops.convert_to_numpy(expected if added is None else expected + added),
            atol=1e-5,
        )
