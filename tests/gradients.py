"""Backend-independent gradients for tests."""

import keras
import numpy as np
from keras import ops


def gradients(function, inputs, variables=()):
    """Computes gradients of a scalar function of one array.

    Returns:
        List of NumPy arrays: the gradient of the inputs, then those of the variables.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        tensor = tf.convert_to_tensor(inputs)
        with tf.GradientTape() as tape:
            tape.watch(tensor)
            value = function(tensor)
        found = tape.gradient(value, [tensor, *(variable.value for variable in variables)])
    elif backend == "torch":
        tensor = ops.convert_to_tensor(inputs).clone().requires_grad_(True)
        values = [variable.value for variable in variables]
        for value in values:
            value.grad = None
        function(tensor).backward()
        found = [tensor.grad, *(value.grad for value in values)]
    else:
        import jax

        def of_all(tensor, values):
            with keras.StatelessScope(zip(variables, values, strict=True), collect_losses=True):
                return function(tensor)

        by_input, by_variables = jax.grad(of_all, argnums=(0, 1))(
            ops.convert_to_tensor(inputs), [variable.value for variable in variables]
        )
        found = [by_input, *by_variables]
    return [
        np.zeros(inputs.shape, "float32") if gradient is None else ops.convert_to_numpy(gradient)
        for gradient in found
    ]
