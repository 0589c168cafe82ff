"""Two optimizers that a model can be compiled with as one."""

from collections.abc import Callable
from typing import Any

import keras


class AdversarialOptimizer(keras.optimizers.MultiOptimizer):
    """Gives the weights of a discriminator to one optimizer, and all others to another.

    `learning_rate`, which callbacks read and write, is the generator's.

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
        def optimizer_of(variable: keras.Variable) -> keras.optimizers.Optimizer:
            is_discriminator = any(variable is weight for weight in weights())
            return discriminator if is_discriminator else generator

        super().__init__(optimizer_of, name="adversarial_optimizer")
        self.generator = generator
        self.discriminator = discriminator

    @property
    def learning_rate(self) -> Any:
        """The generator's learning rate."""
        return self.generator.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self.generator.learning_rate = value

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
