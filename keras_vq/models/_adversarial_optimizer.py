"""Two optimizers that a model can be compiled with as one."""

from collections.abc import Callable
from typing import Any

import keras


class AdversarialOptimizer(keras.optimizers.MultiOptimizer):
    """Gives the weights of a discriminator to one optimizer, and all others to another.

    Args:
        generator: The optimizer of all other weights.
        discriminator: The optimizer of the discriminator's weights.
        weights: Says which those are.
    """

    def __init__(
        self,
        generator: keras.optimizers.Optimizer,
        discriminator: keras.optimizers.Optimizer,
        weights: Callable[[], list[keras.Variable]],
    ) -> None:
        super().__init__(_ByWeight(generator, discriminator, weights), name="adversarial_optimizer")
        self.generator = generator
        self.discriminator = discriminator

    def save_own_variables(self, store: Any) -> None:
        """Saves what belongs to neither optimizer: Keras saves the two on its own."""
        for place, variable in enumerate(self._variables):
            store[str(place)] = variable.numpy()

    def load_own_variables(self, store: Any) -> None:
        """Loads what `save_own_variables` saved."""
        for place, variable in enumerate(self._variables):
            variable.assign(store[str(place)])

    def get_config(self) -> dict[str, Any]:
        """The two optimizers; which weights are whose is the model's to say."""
        return {
            "generator": keras.saving.serialize_keras_object(self.generator),
            "discriminator": keras.saving.serialize_keras_object(self.discriminator),
        }


class _ByWeight(keras.optimizers.OptimizerMap):
    """Looks weights up by what they are: parts built on their own may share names."""

    def __init__(
        self,
        generator: keras.optimizers.Optimizer,
        discriminator: keras.optimizers.Optimizer,
        weights: Callable[[], list[keras.Variable]],
    ) -> None:
        super().__init__(generator, {"discriminator": discriminator})
        self.weights = weights

    def __call__(self, variable: keras.Variable) -> keras.optimizers.Optimizer:
        is_discriminator = any(variable is weight for weight in self.weights())
        return self["discriminator"] if is_discriminator else self.default_optimizer
