"""Backend-independent tracing of operations and their output shapes."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np


class Operation(NamedTuple):
    """Operation with its output shape; within a loop it is listed once."""

    name: str
    shape: tuple[int, ...]


def operations_of_training(layer: keras.Layer, inputs: np.ndarray) -> list[Operation]:
    """Returns the operations of a training step, including losses and gradients."""
    trace = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}[keras.backend.backend()]
    return trace(layer, inputs)


def _tensorflow(layer: Any, inputs: np.ndarray) -> list[Operation]:
    import tensorflow as tf

    @tf.function
    def step(x: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            quantized, _ = layer(x, training=True)
            loss = tf.reduce_sum(quantized) + sum(layer.losses)
        return tape.gradient(loss, x)

    return list(_of_graph(step.get_concrete_function(tf.constant(inputs)).graph))


def _of_graph(graph: Any) -> Iterator[Operation]:
    wanted = [output.op for output in graph.outputs] + list(graph.control_outputs)
    seen = set()
    while wanted:  # operations that no output needs are not run
        operation = wanted.pop()
        if operation in seen:
            continue
        seen.add(operation)
        wanted += [given.op for given in operation.inputs] + list(operation.control_inputs)
        for output in operation.outputs:
            if output.shape.rank is not None and None not in output.shape:
                yield Operation(operation.type, tuple(output.shape))
        for name in ("body", "cond", "f", "then_branch", "else_branch"):
            if name in operation.node_def.attr:
                called = operation.node_def.attr[name].func.name
                yield from _of_graph(graph._get_function(called).graph)


def _jax(layer: Any, inputs: np.ndarray) -> list[Operation]:
    import jax

    def loss_of(x: Any, trainable: Any, others: Any) -> Any:
        (quantized, _), others, losses = layer.stateless_call(
            trainable, others, x, training=True, return_losses=True
        )
        return quantized.sum() + sum(losses), others

    values = [
        [variable.value for variable in variables]
        for variables in (layer.trainable_variables, layer.non_trainable_variables)
    ]
    jaxpr = jax.make_jaxpr(jax.grad(loss_of, has_aux=True))(inputs, *values)
    return list(_of_jaxpr(jaxpr.jaxpr))


def _of_jaxpr(jaxpr: Any) -> Iterator[Operation]:
    import jax

    for equation in jaxpr.eqns:
        for output in equation.outvars:
            yield Operation(equation.primitive.name, tuple(output.aval.shape))
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda value: hasattr(value, "eqns")
        ):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from _of_jaxpr(inner)


def _torch(layer: Any, inputs: np.ndarray) -> list[Operation]:
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    found = []

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            made = function(*args, **(kwargs or {}))
            found.extend(
                Operation(function.__name__, tuple(output.shape))
                for output in (made if isinstance(made, (tuple, list)) else [made])
                if isinstance(output, torch.Tensor)
            )
            return made

    x = torch.from_numpy(inputs).requires_grad_(True)
    with Recorder():
        quantized, _ = layer(x, training=True)
        (quantized.sum() + sum(layer.losses)).backward()
    return found
