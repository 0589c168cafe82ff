"""Generator and discriminator optimizers, combined into one optimizer."""

from collections.abc import Callable
from typing import Any

import keras


class AdversarialOptimizer(keras.optimizers.MultiOptimizer):
    """Pair of optimizers for adversarial training: one per player.

    Args:
        generator: Optimizer of all weights other than those of the discriminator.
        discriminator: Optimizer of the discriminator weights.
        weights: Callable that returns the list of discriminator weights.
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
        """Saves the variables of this object; Keras saves those of the two optimizers itself."""
        for place, variable in enumerate(self._own_variables()):
            store[str(place)] = variable.numpy()

    def load_own_variables(self, store: Any) -> None:
        """Loads the variables written by `save_own_variables`."""
        for place, variable in enumerate(self._own_variables()):
            variable.assign(store[str(place)])

    def _own_variables(self) -> list[keras.Variable]:
        of_parts = {id(variable) for part in self.optimizers for variable in part.variables}
        return [variable for variable in self.variables if id(variable) not in of_parts]

    def get_config(self) -> dict[str, Any]:
        """Returns the two serialized optimizers, without `weights`, which the model provides."""
        return {
            "generator": keras.saving.serialize_keras_object(self.generator),
            "discriminator": keras.saving.serialize_keras_object(self.discriminator),
        }


class _ByWeight(keras.optimizers.OptimizerMap):
    """Map from weights to optimizers by identity: parts built separately may share names."""

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
