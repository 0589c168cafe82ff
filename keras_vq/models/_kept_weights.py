"""An error while steps run does not cost the model its weights."""

import contextlib
from collections.abc import Iterator

import keras


@contextlib.contextmanager
def kept_weights(model: keras.Model) -> Iterator[None]:
    """Gives a model back its weights when an error, or the user, ends a loop of steps.

    On JAX Keras takes all values out of the model while it runs steps, and puts them back only
    when the loop ends well: after an error, or Ctrl-C in a notebook, the model would be empty.
    The values put back are those of after the last whole step. Other backends keep the values
    in the model, and nothing is done.
    """
    if not hasattr(model, "jax_state_sync"):
        yield
        return
    optimizer = getattr(model, "optimizer", None)
    variables = [*model.variables, *model.metrics_variables]
    variables += optimizer.variables if optimizer is not None else []
    # References, not copies: a step that takes them over frees them all the same.
    values = [variable._value for variable in variables]
    try:
        yield
    except BaseException:
        model.jax_state_sync()
        for variable, value in zip(variables, values, strict=True):
            if variable._value is None and value is not None and not value.is_deleted():
                variable.assign(value)
        raise
