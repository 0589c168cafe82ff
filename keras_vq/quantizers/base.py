"""Base class of quantizers."""

import math
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_vq import _backend, _validation, estimators
from keras_vq import ops as vq_ops
from keras_vq._hyperparameter import ConfigurableLayer
from keras_vq._non_finite import warn_of_non_finite
from keras_vq._types import Shape, Tensor
from keras_vq.codebooks.base import Start
from keras_vq.estimators import Estimator


class Found(NamedTuple):
    """Result of the code search for one batch, before the gradient estimator is applied."""

    latents: Tensor  # output of `project_in`
    codes: Any  # code vectors; in combinators, the `Found` of each part
    indices: Tensor
    mask: Tensor | None  # false for positions excluded from losses and statistics


class Updates:
    """Codebook updates, collected during a forward pass and applied at its end.

    A quantizer that is used several times in one pass, such as a shared codebook in `Residual`,
    is updated once, with the merged statistics of all its uses. The update follows the last use,
    so that all uses in a pass see the same code vectors.
    """

    def __init__(self) -> None:
        self._gathered: dict[int, tuple[Quantizer, Any]] = {}

    def add(self, quantizer: "Quantizer", statistics: Any) -> None:
        """Adds the statistics of one use of a quantizer. Ignores `None`."""
        if statistics is None:
            return
        if id(quantizer) in self._gathered:
            _, others = self._gathered[id(quantizer)]
            statistics = others.merged(statistics)
        self._gathered[id(quantizer)] = (quantizer, statistics)

    def apply(self) -> None:
        """Updates each quantizer from its collected statistics."""
        for quantizer, statistics in self._gathered.values():
            quantizer.learn(statistics)


class Quantizer(ConfigurableLayer):
    """Base class of quantizers, layers that map vectors to a finite set of code vectors.

        quantized, indices = quantizer(inputs, mask=None, training=None)

    Subclasses do not override `call`. It casts the inputs to float32, finds the codes, adds the
    losses, updates non-gradient state such as EMA statistics (in training, unless `trainable` is
    `False`), applies the gradient estimator and casts the result to the dtype of the inputs.
    The losses are in `layer.losses`, from which an enclosing model adds them to its own.

    A training batch without unmasked vectors, or with NaN or infinity in them, leaves the
    non-gradient state unchanged on all replicas. So does a batch whose update is not finite.

    A subclass implements `codebook_sizes`, `find_indices` and `lookup`, and overrides as needed:

    - `project_in`, `project_out`: projections from the input space to the space of the code
      vectors and back;
    - `commitment_loss`: commitment loss and codebook loss; `auxiliary_loss`: all other losses;
    - `statistics`, `learn`: updates from batches without gradients.

    Args:
        estimator: String or callable. Gradient estimator: `"straight_through"`,
            `"rotation_trick"` or a callable `(inputs, codes, training) -> outputs`; see
            `keras_vq.estimators`. Defaults to `"straight_through"`. A quantizer with a gradient
            of its own raises a `TypeError`.
        return_codes: Boolean. Whether a call returns the tuple below or only the quantized
            vectors, as required in `keras.Sequential`. Defaults to `True`.
        **kwargs: Keyword arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: Float tensor of shape `(..., dim)`, of rank 2 or higher, channels last.
        mask: Boolean tensor of shape `inputs.shape[:-1]`. Positions where it is false are
            excluded from losses and statistics. Defaults to `None`, which keeps all positions.
        training: Boolean. Whether to update non-gradient state and, where configured, to draw
            random codes, noise and dropout.
        return_codes: Boolean. Overrides the constructor argument unless `None`.

    Returns:
        A tuple `(quantized, indices)`. `quantized` has the shape and dtype of the inputs and is 0
        where masked. `indices` is an int32 tensor of codes of shape
        `inputs.shape[:-1] + index_shape`, -1 where masked.
    """

    # Whether each vector has its own indices; a class where it does not overrides `indices_shape`.
    indexes_each_vector = True
    # Whether code vectors depend on `context`, the partial reconstruction, which `Residual` passes.
    takes_context = False
    # Hint in the error of classes without an `estimator` argument; None in all others.
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

    # --- methods for subclasses to implement

    @property
    def learns_before_lookup(self) -> bool:
        """True if the codebook is updated before the lookup, which uses the new code vectors."""
        return False

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codebook sizes, as a tuple with one entry per index of a vector."""
        raise NotImplementedError

    @property
    def index_shape(self) -> tuple[int, ...]:
        """Shape of the indices of one vector: `()` for one index, `(L,)` for L indices."""
        return ()

    def project_in(self, vectors: Tensor, training: bool = False) -> Tensor:
        """Projects vectors to the space of the code vectors. Identity by default."""
        del training
        return vectors

    def find_indices(self, latents: Tensor, training: bool = False) -> Tensor:
        """Finds the codes of latents. Changes no state except that of random generators.

        Args:
            latents: Float32 tensor of shape `(..., latent_dim)`.
            training: Boolean. Whether the codes are for a training step.

        Returns:
            Int32 tensor of codes of shape `(...) + index_shape`.
        """
        raise NotImplementedError

    def lookup(self, indices: Tensor) -> Tensor:
        """Looks up the code vectors of indices.

        Args:
            indices: Int32 tensor of codes of shape `(...) + index_shape`, all in range.

        Returns:
            Float32 tensor of shape `(..., latent_dim)`.
        """
        raise NotImplementedError

    def project_out(self, codes: Tensor) -> Tensor:
        """Projects code vectors back to the input space. Identity by default."""
        return codes

    def commitment_loss(
        self, latents: Tensor, codes: Tensor, indices: Tensor, mask: Tensor | None
    ) -> Tensor | float:
        """Computes the scalar commitment loss, plus any codebook loss. 0 by default."""
        del latents, codes, indices, mask
        return 0.0

    def auxiliary_loss(
        self, latents: Tensor, codes: Tensor, indices: Tensor, mask: Tensor | None
    ) -> Tensor | float:
        """Computes the scalar sum of all other losses, such as an entropy loss. 0 by default."""
        del latents, codes, indices, mask
        return 0.0

    def statistics(
        self, latents: Tensor, codes: Tensor, indices: Tensor, mask: Tensor | None
    ) -> Any:
        """Computes the batch statistics that `learn` uses. Returns `None` if there are none.

        The result has a method `merged(other)`, which combines the statistics of two uses.
        """
        del latents, codes, indices, mask
        return None

    def learn(self, statistics: Any) -> None:
        """Updates non-gradient state from the statistics of a training batch."""
        del statistics

    # --- shared implementation

    def call(
        self,
        inputs: Tensor,
        mask: Tensor | None = None,
        training: bool | None = None,
        return_codes: bool | None = None,
    ) -> Any:
        """Quantizes vectors. See the class for arguments and outputs."""
        self._check_channels(inputs.shape)
        vectors = ops.cast(inputs, "float32")
        mask = self._checked_mask(mask, inputs.shape)
        if mask is not None:
            # Masked positions may be NaN, which would spread to the losses and gradients.
            vectors = ops.where(mask[..., None], vectors, 0.0)

        training = bool(training)
        updates = Updates() if training and self.trainable else None
        # Copied, to undo the update of a batch that is not sound.
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
        """Finds codes and collects statistics: the first half of a call.

        Combinators override it to call `find` of their parts and combine the results.

        Args:
            vectors: Float32 tensor of shape `(..., dim)`.
            mask: Boolean tensor of shape `vectors.shape[:-1]`, or `None`.
            training: Boolean. Whether the codes are for a training step.
            updates: `Updates` that collects the statistics, or `None` for no update.
            indices: Int32 tensor of codes to use, or `None` to search for them.
            context: Float32 tensor of shape `(..., dim)`, the partial reconstruction, or `None`.
                Ignored unless `takes_context`.

        Returns:
            A `Found`.
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
        """Returns the code vectors and the indices of latents."""
        indices = self.find_indices(latents, training=training, **context)
        return self.lookup(indices, **context), indices

    def loss(self, found: Found) -> Tensor | float:
        """Computes the scalar that this quantizer adds to the loss of the model."""
        return self.commitment_loss(*found) + self.auxiliary_loss(*found)

    def estimate(self, latents: Tensor, codes: Any, training: bool = False) -> Tensor:
        """Returns the quantized vectors, with a gradient to the latents."""
        return self.project_out(self.estimator(latents, codes, training=training))

    def reconstruct(self, codes: Any) -> Tensor:
        """Returns the quantized vectors without applying the gradient estimator.

        Gradients reach the parameters of the code vectors. They reach the inputs only if the code
        vectors depend on them, as in `CategoricalQuantizer`.
        """
        return self.project_out(codes)

    def encode(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Encodes vectors as the codes that an inference call returns. Changes no state.

        Args:
            inputs: Float tensor of shape `(..., dim)`.
            mask: Boolean tensor of shape `inputs.shape[:-1]`, or `None`.

        Returns:
            Int32 tensor of codes of shape `inputs.shape[:-1] + index_shape`, -1 where masked.
        """
        inputs = ops.convert_to_tensor(inputs)
        self.build_for(inputs.shape)
        mask = self._checked_mask(mask, inputs.shape)
        vectors = ops.cast(inputs, "float32")
        if mask is not None:
            vectors = ops.where(mask[..., None], vectors, 0.0)
        indices = self.find(vectors, mask, training=False, updates=None).indices
        return indices if mask is None else self.mask_indices(indices, mask)

    def decode(self, indices: Tensor, context: Tensor | None = None) -> Tensor:
        """Decodes codes to the quantized vectors of an inference call, bit for bit in float32.

        Args:
            indices: Int32 tensor of codes of shape `(...) + index_shape`. -1 is decoded to zeros.
            context: Float32 tensor of shape `(..., dim)`, the partial reconstruction, or `None`.
                Ignored unless `takes_context`; see `Residual`.

        Returns:
            Float32 tensor of shape `(..., dim)`.

        Raises:
            ValueError: If the quantizer is not built, or `indices` is a NumPy array or a list with
                values that are not codes. The values of tensors are not checked.
        """
        indices = self._checked_indices(indices)
        valid = indices >= 0
        for _ in self.index_shape:
            valid = valid[..., 0]
        extra = {"context": context} if self.takes_context else {}
        vectors = self.project_out(self.lookup(ops.maximum(indices, 0), **extra))
        return ops.where(valid[..., None], vectors, 0.0)

    def adapt(self, vectors: Any, start: Start = "kmeans") -> None:
        """Initializes the code vectors from data, before training.

        Args:
            vectors: Float array of shape `(..., dim)`.
            start: `"kmeans"` or `"first"`; see `BaseCodebook.adapt`. Defaults to `"kmeans"`.

        Raises:
            ValueError: If this quantizer has no initialization from data.
        """
        del vectors, start
        raise ValueError(
            f"{type(self).__name__} has no codes that could be placed by data: train it as it is. "
            "Received: a call of `adapt`"
        )

    def set_embeddings(self, embeddings: Any) -> None:
        """Sets the code vectors, for example to those of a pretrained codebook, before training.

        Args:
            embeddings: Array of shape `(codebook_size, dim)`, finite. A combinator of several
                quantizers takes a list with one such entry per distinct quantizer.

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
        """Sets the code vectors of a quantizer that stores them in its weight `embeddings`."""
        dim = self.dim if self.built else None
        checked = _validation.check_embeddings(
            ops.convert_to_numpy(embeddings), self.codebook_size, dim
        )
        if not self.built:
            self.build((None, checked.shape[1]))
        self.embeddings.assign(checked)

    @property
    def codebook_size(self) -> int:
        """Number of combinations of codes of one vector: the product of `codebook_sizes`."""
        return math.prod(self.codebook_sizes)

    @property
    def bits_per_vector(self) -> float:
        """Number of bits per vector, for equally likely codes."""
        return sum(math.log2(size) for size in self.codebook_sizes)

    def indices_shape(self, input_shape: Shape) -> Shape:
        """Returns the shape of the indices for inputs of a given shape."""
        return tuple(input_shape[:-1]) + self.index_shape

    def output_shape_of(self, input_shape: Shape) -> Shape:
        """Returns the shape of the quantized vectors for inputs of a given shape."""
        return tuple(input_shape)

    def mask_indices(self, indices: Tensor, mask: Tensor) -> Tensor:
        """Returns the indices with -1 where the mask is false."""
        mask = ops.reshape(mask, tuple(ops.shape(mask)) + (1,) * len(self.index_shape))
        return ops.where(mask, indices, -1)

    def compute_output_spec(
        self,
        inputs: keras.KerasTensor,
        mask: Tensor | None = None,
        training: bool | None = None,
        return_codes: bool | None = None,
    ) -> Any:
        """Returns the shapes and dtypes of the outputs of a call."""
        del mask, training
        self._check_channels(inputs.shape)
        quantized = keras.KerasTensor(self.output_shape_of(inputs.shape), dtype=inputs.dtype)
        if not self._is_pair(return_codes):
            return quantized
        return quantized, keras.KerasTensor(self.indices_shape(inputs.shape), dtype="int32")

    def compute_output_shape(self, input_shape: Shape) -> Any:
        """Returns the shapes of the outputs of a call."""
        quantized = self.output_shape_of(input_shape)
        return (quantized, self.indices_shape(input_shape)) if self.return_codes else quantized

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor | None = None) -> Any:
        """Returns the input mask for the quantized vectors and for the indices."""
        del inputs
        if previous_mask is None or not self.return_codes:
            return previous_mask
        return previous_mask, previous_mask

    def build(self, input_shape: Shape) -> None:
        """Checks the shape of the inputs and stores their last dimension."""
        if len(input_shape) < 2 or input_shape[-1] is None:
            raise ValueError(
                f"{type(self).__name__} needs inputs of shape (..., dim), of rank 2 or more and "
                f"with a known last axis. Received: shape {tuple(input_shape)}"
            )
        self.dim = int(input_shape[-1])

    def build_for(self, input_shape: Shape) -> None:
        """Builds the quantizer for inputs of a given shape, or checks the shape if it is built.

        Raises:
            ValueError: If the quantizer is built for vectors of another dimension.
        """
        if self.built:
            self._check_channels(input_shape)
        else:
            self.build(input_shape)

    def load_own_variables(self, store: Any) -> None:
        """Loads the weights and warns if they contain NaN or infinity."""
        super().load_own_variables(store)
        warn_of_non_finite(self)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments."""
        config = {**super().get_config(), "return_codes": self.return_codes}
        if self.hint_without_estimator is None:
            config["estimator"] = keras.saving.serialize_keras_object(self.estimator)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Quantizer":
        """Creates the quantizer, with nested objects, from its configuration."""
        plain = ("dtype", "name", "trainable")
        return cls(
            **{
                key: value if key in plain else keras.saving.deserialize_keras_object(value)
                for key, value in config.items()
            }
        )

    @property
    def _has_codes(self) -> bool:
        """True if `decode` has all that it needs."""
        return self.built

    def _check_channels(self, input_shape: Shape) -> None:
        """Checks the last axis of inputs, which broadcasting or a reshape could let pass."""
        if vq_ops.is_traced_for_export():
            return  # PyTorch's tracer makes tensors of the sizes.
        if self.built and tuple(input_shape)[-1:] not in ((self.dim,), (None,)):
            raise ValueError(
                f"`inputs` must have {self.dim} channels, the dimension of the vectors that this "
                f"{type(self).__name__} was built for. Received: shape {tuple(input_shape)}"
            )

    def _checked_indices(self, indices: Any) -> Tensor:
        """Returns the argument of `decode` as an int32 tensor; checks the values of NumPy arrays.

        Raises:
            ValueError: If there are no code vectors yet, or a value is not a code.
        """
        if not self._has_codes:
            raise ValueError(
                "`decode` needs code vectors, which are created with the first inputs: call the "
                "quantizer on vectors, or `build((None, dim))`, first. "
                f"Received: an unbuilt {type(self).__name__}"
            )
        if isinstance(indices, np.ndarray | list):
            indices = _validation.check_codes("indices", indices, self.codebook_sizes, least=-1)
        return ops.convert_to_tensor(indices, dtype="int32")

    def _is_pair(self, return_codes: bool | None) -> bool:
        """Returns true if a call returns indices as well."""
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
    """Returns whether a training batch may update the state, a decision shared by all replicas.

    Args:
        vectors: Float32 tensor of shape `(..., dim)`, zero where masked.
        mask: Boolean tensor of shape `(...)`, or `None`.
        state: List of weights after the update.

    Returns:
        Boolean scalar tensor: true if there are unmasked vectors and all vectors and weights are
        finite.
    """
    kept = ops.ones_like(vectors[..., 0]) if mask is None else ops.cast(mask, "float32")
    is_bad = ops.logical_not(ops.isfinite(vectors))
    count, bad = _backend.sum_over_replicas([ops.sum(kept), ops.sum(ops.cast(is_bad, "float32"))])
    # Sums of finite vectors may overflow. The weights are already equal on all replicas.
    weights = [weight for weight in state if keras.backend.is_float_dtype(weight.dtype)]
    checks = [count > 0, ops.equal(bad, 0), *(ops.all(ops.isfinite(w)) for w in weights)]
    return ops.all(ops.stack(checks))
