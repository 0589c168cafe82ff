"""The contract of a quantizer: what every one takes, returns and promises."""

import math
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_vq import _backend, _validation, estimators
from keras_vq._hyperparameter import ConfigurableLayer
from keras_vq._non_finite import warn_of_non_finite
from keras_vq._types import Shape, Tensor
from keras_vq.codebooks.base import Start
from keras_vq.estimators import Estimator


class Found(NamedTuple):
    """What a quantizer makes of a batch of vectors, before gradients are estimated."""

    latents: Tensor  # the vectors in the space where codes live
    codes: Any  # their codes; in combinators the `Found` of each part
    indices: Tensor
    mask: Tensor | None  # where false, a position counts for nothing


class Updates:
    """What quantizers shall learn from a batch, gathered until the end of its pass.

    A quantizer that serves several times in a pass (one codebook for all levels of `Residual`)
    learns once, from all it was used for, and after its last use: what it answers does not
    change halfway.
    """

    def __init__(self) -> None:
        self._gathered: dict[int, tuple[Quantizer, Any]] = {}

    def add(self, quantizer: "Quantizer", statistics: Any) -> None:
        """Adds what one use of a quantizer tells it."""
        if statistics is None:
            return
        if id(quantizer) in self._gathered:
            _, others = self._gathered[id(quantizer)]
            statistics = others.merged(statistics)
        self._gathered[id(quantizer)] = (quantizer, statistics)

    def apply(self) -> None:
        """Lets each quantizer learn."""
        for quantizer, statistics in self._gathered.values():
            quantizer.learn(statistics)


class Quantizer(ConfigurableLayer):
    """Abstract layer that maps vectors to a finite set of codes.

        quantized, indices = quantizer(inputs, mask=None, training=None)

    `call` is the same for all and not overridden: cast to float32, find codes, add the loss,
    learn (in training, unless frozen by `trainable = False`), estimate the gradient, cast back.
    A training batch without vectors, or with one that is NaN or infinite, leaves the state that
    does not learn by gradient as it was, on all replicas.
    The losses are in `layer.losses`, for any enclosing model to add.

    A subclass implements `codebook_sizes`, `find_indices` and `lookup`, and where it needs them

    - `project_in`, `project_out`: from inputs to the space where codes live, and back;
    - `commitment_loss`: what pulls latents and codes together; `auxiliary_loss`: any other;
    - `statistics`, `learn`: what is learnt from batches and not by gradient.

    Args:
        estimator: How gradients pass to the inputs: `"straight_through"`, `"rotation_trick"` or
            a function of (inputs, codes, training); see `keras_vq.estimators`. Defaults to
            `"straight_through"`. Raises a TypeError in a quantizer with a gradient of its own.
        return_codes: Boolean. Whether a call returns the pair below, or the quantized vectors
            alone, as a layer of `keras.Sequential` must. Defaults to `True`.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Float tensor of shape `(..., dim)`: any rank of at least 2, channels last.
        mask: Boolean tensor of shape `inputs.shape[:-1]`; false leaves a position out of losses
            and statistics. None keeps all.
        training: Whether state that learns from batches is updated.
        return_codes: Takes the place of the constructor's argument, unless None.

    Returns:
        A pair. `quantized`: shape and dtype of the inputs; 0 where masked. `indices`: int32,
        shape `inputs.shape[:-1] + index_shape`; -1 where masked.
    """

    # Whether each vector has indices of its own; if not, `indices_shape` says what has.
    indexes_each_vector = True
    # Whether codes depend on a vector (`context`) that `Residual` hands over.
    takes_context = False
    # None, or in a class without an `estimator` argument the hint for a caller that gives one.
    hint_without_estimator: str | None = None

    def __init__(
        self,
        estimator: str | Estimator | None = None,
        return_codes: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.return_codes = bool(return_codes)
        self._losses = _backend.LossesOfReplica()
        if self.hint_without_estimator is None:
            self.estimator = estimators.get("straight_through" if estimator is None else estimator)
        elif estimator is not None:
            raise TypeError(
                f"{type(self).__name__} has no argument `estimator`. {self.hint_without_estimator} "
                f"Received: {estimator!r}"
            )
        self.supports_masking = True

    # --- what a subclass implements

    @property
    def learns_before_lookup(self) -> bool:
        """Whether codes learn from a batch before it is quantized: then by the new ones."""
        return False

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """How many values each index of a vector may take: one number, or one an index."""
        raise NotImplementedError

    @property
    def index_shape(self) -> tuple[int, ...]:
        """Axes that the indices of one vector have: () for one index, (L,) for L of them."""
        return ()

    def project_in(self, vectors: Tensor, training: bool = False) -> Tensor:
        """The vectors in the space where codes live: themselves, unless overridden."""
        del training
        return vectors

    def find_indices(self, latents: Tensor, training: bool = False) -> Tensor:
        """Indices of the codes of latents; changes no state but that of random generators.

        Args:
            latents: Float32 tensor of shape `(..., latent_dim)`.
            training: Whether the codes are for a training step.

        Returns:
            Int32 tensor of shape `(...) + index_shape`.
        """
        raise NotImplementedError

    def lookup(self, indices: Tensor) -> Tensor:
        """The codes of indices, float32 `(..., latent_dim)`; indices are in range."""
        raise NotImplementedError

    def project_out(self, codes: Tensor) -> Tensor:
        """From the space where codes live to that of the inputs: nothing, unless overridden."""
        return codes

    def commitment_loss(
        self, latents: Tensor, codes: Tensor, indices: Tensor, mask: Tensor | None
    ) -> Tensor | float:
        """The scalar loss that pulls latents and codes together."""
        del latents, codes, indices, mask
        return 0.0

    def auxiliary_loss(
        self, latents: Tensor, codes: Tensor, indices: Tensor, mask: Tensor | None
    ) -> Tensor | float:
        """The scalar loss for other ends, such as the even use of codes."""
        del latents, codes, indices, mask
        return 0.0

    def statistics(
        self, latents: Tensor, codes: Tensor, indices: Tensor, mask: Tensor | None
    ) -> Any:
        """What a batch tells that `learn` needs, with a method `merged(other)`; None: nothing."""
        del latents, codes, indices, mask
        return None

    def learn(self, statistics: Any) -> None:
        """Learns from a training batch whatever is not learnt by gradient."""
        del statistics

    # --- what every quantizer does

    def call(
        self,
        inputs: Tensor,
        mask: Tensor | None = None,
        training: bool | None = None,
        return_codes: bool | None = None,
    ) -> Any:
        """Quantizes vectors; see the class."""
        vectors = ops.cast(inputs, "float32")
        mask = self._checked_mask(mask, inputs.shape)
        if mask is not None:
            # A masked position may hold anything, even NaN: neither it nor its gradient counts.
            vectors = ops.where(mask[..., None], vectors, 0.0)

        training = bool(training)
        updates = Updates() if training and self.trainable else None
        # Weights that the optimizer does not change: the state that learns from batches.
        state = self.non_trainable_weights if updates is not None else []
        before = [ops.copy(weight) for weight in state]
        found = self.find(vectors, mask, training, updates)
        loss = self.loss(found)
        if not isinstance(loss, float):
            self.add_loss(loss)
        if updates is not None:
            updates.apply()
            _backend.restore(state, before, ops.logical_not(_is_sound(vectors, mask, state)))
        quantized = self.estimate(found.latents, found.codes, training)

        indices = found.indices
        if mask is not None:
            quantized = ops.where(mask[..., None], quantized, 0.0)
            indices = self.mask_indices(indices, mask)
        quantized = ops.cast(quantized, inputs.dtype)
        return (quantized, indices) if self._is_pair(return_codes) else quantized

    def find(
        self,
        vectors: Tensor,
        mask: Tensor | None,
        training: bool,
        updates: Updates | None,
        indices: Tensor | None = None,
        context: Tensor | None = None,
    ) -> Found:
        """Codes and statistics of vectors: the first half of a call.

        For combinators, which let their parts find codes and put the answers together.

        Args:
            vectors: Float32 tensor of shape `(..., dim)`.
            mask: Boolean tensor of shape `vectors.shape[:-1]`, or None.
            training: Whether the codes are for a training step.
            updates: Where to add what is to be learnt; None if nothing is.
            indices: The indices to take, if they were found already.
            context: For quantizers that take one.
        """
        extra = {"context": context} if self.takes_context else {}
        latents = self.project_in(vectors, training=training)

        def found() -> tuple[Tensor, Tensor]:
            if indices is None:
                return self.find_codes(latents, training=training, **extra)
            return self.lookup(indices, **extra), indices

        codes, chosen = found()
        if updates is not None and self.trainable:
            statistics = self.statistics(
                ops.stop_gradient(latents), ops.stop_gradient(codes), chosen, mask
            )
            if self.learns_before_lookup:
                self.learn(statistics)
                codes, chosen = found()
            else:
                updates.add(self, statistics)
        return Found(latents, codes, chosen, mask)

    def find_codes(
        self, latents: Tensor, training: bool = False, **context: Any
    ) -> tuple[Tensor, Tensor]:
        """Codes and indices of latents."""
        indices = self.find_indices(latents, training=training, **context)
        return self.lookup(indices, **context), indices

    def loss(self, found: Found) -> Tensor | float:
        """The scalar that this quantizer adds to the model's loss."""
        return self.commitment_loss(*found) + self.auxiliary_loss(*found)

    def estimate(self, latents: Tensor, codes: Any, training: bool = False) -> Tensor:
        """The quantized vectors, with a gradient to the latents."""
        return self.project_out(self.estimator(latents, codes, training=training))

    def reconstruct(self, codes: Any) -> Tensor:
        """The quantized vectors with a gradient to what codes are made of, not to the inputs."""
        return self.project_out(codes)

    def encode(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Indices of vectors, as a call in inference gives them; changes no state.

        Args:
            inputs: Float tensor of shape `(..., dim)`.
            mask: Boolean tensor of shape `inputs.shape[:-1]`, or None.

        Returns:
            Int32 tensor of shape `inputs.shape[:-1] + index_shape`; -1 where masked.
        """
        inputs = ops.convert_to_tensor(inputs)
        if not self.built:
            self.build(inputs.shape)
        mask = self._checked_mask(mask, inputs.shape)
        vectors = ops.cast(inputs, "float32")
        if mask is not None:
            vectors = ops.where(mask[..., None], vectors, 0.0)
        indices = self.find(vectors, mask, training=False, updates=None).indices
        return indices if mask is None else self.mask_indices(indices, mask)

    def decode(self, indices: Tensor, context: Tensor | None = None) -> Tensor:
        """The vectors of indices: to the bit what a call in inference returned with them.

        Args:
            indices: Int32 tensor of shape `(...) + index_shape`; -1 gives zeros.
            context: For quantizers that take one; see `Residual`.

        Returns:
            Float32 tensor of shape `(..., dim)`.
        """
        indices = ops.convert_to_tensor(indices, dtype="int32")
        valid = indices >= 0
        for _ in self.index_shape:
            valid = valid[..., 0]
        extra = {"context": context} if self.takes_context else {}
        vectors = self.project_out(self.lookup(ops.maximum(indices, 0), **extra))
        return ops.where(valid[..., None], vectors, 0.0)

    def adapt(self, vectors: Any, start: Start = "kmeans") -> None:
        """Places codes by data, before training, in quantizers that have codes to place.

        Raises:
            ValueError: If this quantizer has none.
        """
        del vectors, start
        raise ValueError(
            f"{type(self).__name__} has no codes that could be placed by data: train it as it is. "
            "Received: a call of `adapt`"
        )

    def set_embeddings(self, embeddings: Any) -> None:
        """Sets the code vectors, such as those of a pretrained codebook, before training.

        Args:
            embeddings: Array of shape `(codebook_size, dim)`, finite. Combinators of several
                quantizers take a list of what each of them takes; a shared quantizer has one
                entry.

        Raises:
            ValueError: If this quantizer has no code vectors to set, or `embeddings` does not
                fit them.
        """
        del embeddings
        raise ValueError(
            f"{type(self).__name__} has no code vectors that could be set: load its weights "
            "instead. Received: a call of `set_embeddings`"
        )

    def _set_own_embeddings(self, embeddings: Any) -> None:
        """Sets the code vectors of a quantizer that has them in its own weight `embeddings`."""
        dim = self.dim if self.built else None
        checked = _validation.check_embeddings(
            ops.convert_to_numpy(embeddings), self.codebook_size, dim
        )
        if not self.built:
            self.build((None, checked.shape[1]))
        self.embeddings.assign(checked)

    @property
    def codebook_size(self) -> int:
        """Number of different codes a vector may become."""
        return math.prod(self.codebook_sizes)

    @property
    def bits_per_vector(self) -> float:
        """Bits that the indices of one vector take, all codes being equally likely."""
        return sum(math.log2(size) for size in self.codebook_sizes)

    def indices_shape(self, input_shape: Shape) -> Shape:
        """Shape of the indices of inputs of a shape."""
        return tuple(input_shape[:-1]) + self.index_shape

    def output_shape_of(self, input_shape: Shape) -> Shape:
        """Shape of the quantized vectors of inputs of a shape."""
        return tuple(input_shape)

    def mask_indices(self, indices: Tensor, mask: Tensor) -> Tensor:
        """The indices, -1 where the mask is false."""
        mask = ops.reshape(mask, tuple(ops.shape(mask)) + (1,) * len(self.index_shape))
        return ops.where(mask, indices, -1)

    def compute_output_spec(
        self,
        inputs: keras.KerasTensor,
        mask: Tensor | None = None,
        training: bool | None = None,
        return_codes: bool | None = None,
    ) -> Any:
        """Returns shapes and dtypes of the outputs of a call."""
        del mask, training
        quantized = keras.KerasTensor(self.output_shape_of(inputs.shape), dtype=inputs.dtype)
        if not self._is_pair(return_codes):
            return quantized
        return quantized, keras.KerasTensor(self.indices_shape(inputs.shape), dtype="int32")

    def compute_output_shape(self, input_shape: Shape) -> Any:
        """Returns the shapes of the outputs of a call."""
        quantized = self.output_shape_of(input_shape)
        return (quantized, self.indices_shape(input_shape)) if self.return_codes else quantized

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor | None = None) -> Any:
        """Returns the mask of the inputs for the quantized vectors, and for the indices."""
        del inputs
        if previous_mask is None or not self.return_codes:
            return previous_mask
        return previous_mask, previous_mask

    def build(self, input_shape: Shape) -> None:
        """Checks the inputs' shape and remembers their dimension."""
        if len(input_shape) < 2 or input_shape[-1] is None:
            raise ValueError(
                f"{type(self).__name__} needs inputs of shape (..., dim), of rank 2 or more and "
                f"with a known last axis. Received: shape {tuple(input_shape)}"
            )
        self.dim = int(input_shape[-1])

    def load_own_variables(self, store: Any) -> None:
        """Loads the weights, with a warning if they hold NaN or infinity."""
        super().load_own_variables(store)
        warn_of_non_finite(self)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        config = {**super().get_config(), "return_codes": self.return_codes}
        if self.hint_without_estimator is None:
            config["estimator"] = keras.saving.serialize_keras_object(self.estimator)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Quantizer":
        """The quantizer of a configuration, its parts with it."""
        plain = ("dtype", "name", "trainable")
        return cls(
            **{
                key: value if key in plain else keras.saving.deserialize_keras_object(value)
                for key, value in config.items()
            }
        )

    def _is_pair(self, return_codes: bool | None) -> bool:
        """Checks for a call that returns indices as well."""
        return self.return_codes if return_codes is None else bool(return_codes)

    def _checked_mask(self, mask: Tensor | None, input_shape: Shape) -> Tensor | None:
        if mask is None:
            return None
        mask = ops.cast(mask, "bool")
        if len(mask.shape) != len(input_shape) - 1:
            raise ValueError(
                f"`mask` must have the shape of the inputs without their last axis, "
                f"{tuple(input_shape[:-1])}. Received: shape {tuple(mask.shape)}"
            )
        return mask


def _is_sound(vectors: Tensor, mask: Tensor | None, state: list[Any]) -> Tensor:
    """Returns whether a training batch of all replicas may change the state.

    Args:
        vectors: Float32 tensor of shape `(..., dim)`, zero where masked.
        mask: Boolean tensor of shape `(...)`, or None.
        state: The weights after the batch.

    Returns:
        Boolean scalar: true if there are vectors, and they and the weights are finite.
    """
    kept = ops.ones_like(vectors[..., 0]) if mask is None else ops.cast(mask, "float32")
    is_bad = ops.logical_not(ops.isfinite(vectors))
    count, bad = _backend.sum_over_replicas([ops.sum(kept), ops.sum(ops.cast(is_bad, "float32"))])
    # Finite vectors may have infinite sums. These are of all replicas already.
    weights = [weight for weight in state if keras.backend.is_float_dtype(weight.dtype)]
    checks = [count > 0, ops.equal(bad, 0), *(ops.all(ops.isfinite(w)) for w in weights)]
    return ops.all(ops.stack(checks))
