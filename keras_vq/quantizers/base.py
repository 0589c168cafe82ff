"""Base class of quantizers."""

import math
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_vq import _validation, backend, estimators
from keras_vq._configurable import ConfigurableLayer
from keras_vq._export_mode import is_traced_for_export
from keras_vq._non_finite import WarnsOfNonFinite
from keras_vq._types import Shape, Tensor
from keras_vq.codebooks.kmeans import Start
from keras_vq.estimators import Estimator


class Assignment(NamedTuple):
    """Result of the code search for one batch, before the gradient estimator is applied."""

    latents: Tensor  # output of `_project_in`
    quantized: Any  # code vector of each vector; in combinators, the `Assignment` of each part
    codes: Tensor
    mask: Tensor | None = None  # false for positions excluded from losses and statistics
    # All code vectors, as read for the search. Losses use them instead of the variable, because
    # TensorFlow's graph optimizer may delay a second read until after the optimizer's update.
    embeddings: Tensor | None = None

    def without_gradient(self) -> "Assignment":
        """Returns the assignment with stopped gradients."""
        latents, quantized = ops.stop_gradient(self.latents), ops.stop_gradient(self.quantized)
        return self._replace(latents=latents, quantized=quantized)


class DeferredUpdates:
    """Codebook updates, collected during a forward pass and applied at its end.

    A quantizer that is used several times in one pass, such as a shared codebook in
    `ResidualQuantizer`, is updated once, with the merged statistics of all its uses. The update
    follows the last use, so that all uses in a pass see the same code vectors.
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
            quantizer._update(statistics)


class Quantizer(WarnsOfNonFinite, ConfigurableLayer):
    """Base class of quantizers, layers that map vectors to a finite set of code vectors.

        quantized, codes = quantizer(inputs, mask=None, training=None)

    Subclasses do not override `call`. It casts the inputs to float32, finds the codes, adds the
    losses, updates non-gradient state such as EMA statistics (in training, unless `trainable` is
    `False`), applies the gradient estimator and casts the result to the dtype of the inputs.
    The losses are in `layer.losses`, from which an enclosing model adds them to its own.

    A training batch without unmasked vectors, or with NaN or infinity in them, leaves the
    non-gradient state unchanged on all replicas. So does a batch whose update is not finite.

    A subclass implements `codebook_sizes`, `_search_codes` and `_lookup`, and overrides as needed:

    - `_project_in`, `_project_out`: projections from the input space to the space of the code
      vectors and back;
    - `_commitment_loss`: commitment loss and codebook loss; `_auxiliary_loss`: all other losses;
    - `_statistics`, `_update`: updates from batches without gradients.

    Args:
        estimator: String or callable. Gradient estimator: `"straight_through"`,
            `"rotation_trick"` or a callable `(inputs, quantized, training) -> outputs`; see
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
        A tuple `(quantized, codes)`. `quantized` has the shape and dtype of the inputs and is 0
        where masked. `codes` is an int32 tensor of codes of shape
        `inputs.shape[:-1] + code_shape`, -1 where masked.

    Example:
        >>> import numpy as np, keras_vq
        >>> quantizer = keras_vq.FiniteScalarQuantizer([8, 5, 5])  # a subclass
        >>> quantized, codes = quantizer(np.zeros((2, 3), "float32"))
        >>> tuple(codes.shape), quantizer.codebook_sizes, round(quantizer.bits_per_vector, 2)
        ((2,), (200,), 7.64)
    """

    # Whether each vector has its own codes; a class where it does not overrides
    # `_compute_codes_shape`.
    _has_codes_per_vector = True
    # Whether code vectors depend on `context`, the partial reconstruction, which
    # `ResidualQuantizer` passes.
    _takes_context = False
    # Hint in the error of classes without an `estimator` argument; None in all others.
    _hint_without_estimator: str | None = None

    def __init__(
        self,
        estimator: str | Estimator | None = None,
        return_codes: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.return_codes = bool(return_codes)
        backend.isolate_losses(self)
        if self._hint_without_estimator is None:
            self.estimator = estimators.get("straight_through" if estimator is None else estimator)
        elif estimator is not None:
            raise TypeError(
                f"{type(self).__name__} has no argument `estimator`. Received: {estimator!r}. "
                f"{self._hint_without_estimator}"
            )
        self.supports_masking = True

    # --- methods for subclasses to implement

    @property
    def _updates_before_lookup(self) -> bool:
        """True if the codebook is updated before the lookup, which uses the new code vectors."""
        return False

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codebook sizes, as a tuple with one entry per code of a vector."""
        raise NotImplementedError

    @property
    def code_shape(self) -> tuple[int, ...]:
        """Shape of the codes of one vector: `()` for one code, `(L,)` for L codes."""
        return ()

    def _project_in(self, vectors: Tensor, training: bool = False) -> Tensor:
        """Projects vectors to the space of the code vectors. Identity by default."""
        del training
        return vectors

    def _search_codes(self, latents: Tensor, training: bool = False) -> Tensor:
        """Finds the codes of latents. Changes no state except that of random generators.

        Args:
            latents: Float32 tensor of shape `(..., latent_dim)`.
            training: Boolean. Whether the codes are for a training step.

        Returns:
            Int32 tensor of codes of shape `(...) + code_shape`.
        """
        raise NotImplementedError

    def _lookup(self, codes: Tensor) -> Tensor:
        """Looks up the code vectors of codes.

        Args:
            codes: Int32 tensor of codes of shape `(...) + code_shape`, all in range.

        Returns:
            Float32 tensor of shape `(..., latent_dim)`.
        """
        raise NotImplementedError

    def _project_out(self, quantized: Tensor) -> Tensor:
        """Projects code vectors back to the input space. Identity by default."""
        return quantized

    def _commitment_loss(self, assignment: Assignment) -> Tensor | float:
        """Computes the scalar commitment loss, plus any codebook loss. 0 by default."""
        del assignment
        return 0.0

    def _auxiliary_loss(self, assignment: Assignment) -> Tensor | float:
        """Computes the scalar sum of all other losses, such as an entropy loss. 0 by default."""
        del assignment
        return 0.0

    def _statistics(self, assignment: Assignment) -> Any:
        """Computes the batch statistics that `_update` uses. Returns `None` if there are none.

        The result has a method `merged(other)`, which combines the statistics of two uses.
        """
        del assignment
        return None

    def _update(self, statistics: Any) -> None:
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
        updates = DeferredUpdates() if training and self.trainable else None
        # Copied, to undo the update of a batch that is not sound.
        state = self.non_trainable_weights if updates is not None else []
        before = [ops.copy(weight) for weight in state]
        assignment = self._assign(vectors, mask, training, updates)
        loss = self._loss(assignment)
        if not isinstance(loss, float):
            self.add_loss(loss)
        if updates is not None:
            updates.apply()
            backend.assign_if(state, before, ops.logical_not(_is_sound(vectors, mask, state)))
        quantized = self._estimate(assignment.latents, assignment.quantized, training)

        codes = assignment.codes
        if mask is not None:
            quantized = ops.where(mask[..., None], quantized, 0.0)
            codes = self._mask_codes(codes, mask)
        quantized = ops.cast(quantized, inputs.dtype)
        return (quantized, codes) if self._is_pair(return_codes) else quantized

    def _assign(
        self,
        vectors: Tensor,
        mask: Tensor | None,
        training: bool,
        updates: DeferredUpdates | None,
        codes: Tensor | None = None,
        context: Tensor | None = None,
    ) -> Assignment:
        """Finds codes and collects statistics: the first half of a call.

        Combinators override it to call `_assign` of their parts and combine the results.

        Args:
            vectors: Float32 tensor of shape `(..., dim)`.
            mask: Boolean tensor of shape `vectors.shape[:-1]`, or `None`.
            training: Boolean. Whether the codes are for a training step.
            updates: `DeferredUpdates` that collects the statistics, or `None` for no update.
            codes: Int32 tensor of codes to use, or `None` to search for them.
            context: Float32 tensor of shape `(..., dim)`, the partial reconstruction, or `None`.
                Ignored unless `_takes_context`.

        Returns:
            The `Assignment`.
        """
        extra = {"context": context} if self._takes_context else {}
        latents = self._project_in(vectors, training=training)

        def assign() -> Assignment:
            if codes is None:
                found = self._search(latents, training=training, **extra)
            else:
                found = Assignment(latents, self._lookup(codes, **extra), codes)
            return found._replace(mask=mask)

        assignment = assign()
        if updates is not None and self.trainable:
            statistics = self._statistics(assignment.without_gradient())
            if self._updates_before_lookup:
                self._update(statistics)
                assignment = assign()
            else:
                updates.add(self, statistics)
        return assignment

    def _search(self, latents: Tensor, training: bool = False, **context: Any) -> Assignment:
        """Finds the code and the code vector of each latent vector."""
        codes = self._search_codes(latents, training=training, **context)
        return Assignment(latents, self._lookup(codes, **context), codes)

    def _loss(self, assignment: Assignment) -> Tensor | float:
        """Computes the scalar that this quantizer adds to the loss of the model."""
        return self._commitment_loss(assignment) + self._auxiliary_loss(assignment)

    def _estimate(self, latents: Tensor, quantized: Any, training: bool = False) -> Tensor:
        """Returns the quantized vectors, with a gradient to the latents."""
        return self._project_out(self.estimator(latents, quantized, training=training))

    def _reconstruct(self, quantized: Any) -> Tensor:
        """Returns the quantized vectors without applying the gradient estimator.

        Gradients reach the parameters of the code vectors. They reach the inputs only if the code
        vectors depend on them, as in `GumbelSoftmaxQuantizer`.
        """
        return self._project_out(quantized)

    def encode(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Encodes vectors as the codes that an inference call returns. Changes no state.

        Args:
            inputs: Float tensor of shape `(..., dim)`.
            mask: Boolean tensor of shape `inputs.shape[:-1]`, or `None`.

        Returns:
            Int32 tensor of codes of shape `inputs.shape[:-1] + code_shape`, -1 where masked.
        """
        inputs = ops.convert_to_tensor(inputs)
        self._build_for(inputs.shape)
        mask = self._checked_mask(mask, inputs.shape)
        vectors = ops.cast(inputs, "float32")
        if mask is not None:
            vectors = ops.where(mask[..., None], vectors, 0.0)
        codes = self._assign(vectors, mask, training=False, updates=None).codes
        return codes if mask is None else self._mask_codes(codes, mask)

    def decode(self, codes: Tensor, context: Tensor | None = None) -> Tensor:
        """Decodes codes to the quantized vectors of an inference call, bit for bit in float32.

        Args:
            codes: Int32 tensor of codes of shape `(...) + code_shape`. -1 is decoded to zeros.
            context: Float32 tensor of shape `(..., dim)`, the partial reconstruction, or `None`.
                Ignored unless `_takes_context`; see `ResidualQuantizer`.

        Returns:
            Float32 tensor of shape `(..., dim)`.

        Raises:
            ValueError: If the quantizer is not built, or `codes` is a NumPy array or a list with
                values that are not codes. The values of tensors are not checked.
        """
        codes = self._checked_codes(codes)
        valid = codes >= 0
        for _ in self.code_shape:
            valid = valid[..., 0]
        extra = {"context": context} if self._takes_context else {}
        vectors = self._project_out(self._lookup(ops.maximum(codes, 0), **extra))
        return ops.where(valid[..., None], vectors, 0.0)

    def adapt(self, vectors: Any, start: Start = "kmeans") -> None:
        """Initializes the code vectors from data, before training.

        Args:
            vectors: Float array of shape `(..., dim)`.
            start: `"kmeans"` or `"first"`; see `Codebook.adapt`. Defaults to `"kmeans"`.

        Raises:
            ValueError: If this quantizer has no initialization from data.
        """
        del vectors, start
        raise ValueError(
            f"{type(self).__name__} does not support `adapt`, because its code vectors cannot be "
            "initialized from data. Remove the call."
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
            f"{type(self).__name__} does not support `set_embeddings`, because it stores no code "
            "vectors. Load its weights instead."
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

    def _compute_codes_shape(self, input_shape: Shape) -> Shape:
        """Returns the shape of the codes for inputs of a given shape."""
        return tuple(input_shape[:-1]) + self.code_shape

    def _compute_quantized_shape(self, input_shape: Shape) -> Shape:
        """Returns the shape of the quantized vectors for inputs of a given shape."""
        return tuple(input_shape)

    def _mask_codes(self, codes: Tensor, mask: Tensor) -> Tensor:
        """Returns the codes with -1 where the mask is false."""
        mask = ops.reshape(mask, tuple(ops.shape(mask)) + (1,) * len(self.code_shape))
        return ops.where(mask, codes, -1)

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
        quantized = keras.KerasTensor(
            self._compute_quantized_shape(inputs.shape), dtype=inputs.dtype
        )
        if not self._is_pair(return_codes):
            return quantized
        return quantized, keras.KerasTensor(self._compute_codes_shape(inputs.shape), dtype="int32")

    def compute_output_shape(self, input_shape: Shape) -> Any:
        """Returns the shapes of the outputs of a call."""
        quantized = self._compute_quantized_shape(input_shape)
        return (
            (quantized, self._compute_codes_shape(input_shape)) if self.return_codes else quantized
        )

    def compute_mask(self, inputs: Tensor, previous_mask: Tensor | None = None) -> Any:
        """Returns the input mask for the quantized vectors and for the codes."""
        del inputs
        if previous_mask is None or not self.return_codes:
            return previous_mask
        return previous_mask, previous_mask

    def build(self, input_shape: Shape) -> None:
        """Checks the shape of the inputs and stores their last dimension."""
        if len(input_shape) < 2 or input_shape[-1] is None:
            raise ValueError(
                f"The inputs of {type(self).__name__} must have the shape (..., dim), with at "
                f"least 2 axes and a known last axis. Received: shape {tuple(input_shape)}"
            )
        self.dim = int(input_shape[-1])

    def _build_for(self, input_shape: Shape) -> None:
        """Builds the quantizer for inputs of a given shape, or checks the shape if it is built.

        Raises:
            ValueError: If the quantizer is built for vectors of another dimension.
        """
        if self.built:
            self._check_channels(input_shape)
        else:
            self.build(input_shape)

    @property
    def _has_codes(self) -> bool:
        """True if `decode` has all that it needs."""
        return self.built

    def _check_channels(self, input_shape: Shape) -> None:
        """Checks the last axis of inputs, which broadcasting or a reshape could let pass."""
        if is_traced_for_export():
            return  # PyTorch's tracer makes tensors of the sizes.
        if self.built and tuple(input_shape)[-1:] not in ((self.dim,), (None,)):
            raise ValueError(
                f"`inputs` must have {self.dim} channels, the dimension for which this "
                f"{type(self).__name__} was built. Received: shape {tuple(input_shape)}"
            )

    def _checked_codes(self, codes: Any) -> Tensor:
        """Returns the argument of `decode` as an int32 tensor; checks the values of NumPy arrays.

        Raises:
            ValueError: If there are no code vectors yet, or a value is not a code.
        """
        if not self._has_codes:
            raise ValueError(
                "The quantizer must be built before `decode`. Call it on vectors, or call "
                f"`build((None, dim))`. Received: an unbuilt {type(self).__name__}"
            )
        if isinstance(codes, np.ndarray | list):
            codes = _validation.check_codes("codes", codes, self.codebook_sizes, least=-1)
        return ops.convert_to_tensor(codes, dtype="int32")

    def _is_pair(self, return_codes: bool | None) -> bool:
        """Returns true if a call returns codes as well."""
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
    count, bad = backend.all_reduce_sum([ops.sum(kept), ops.sum(ops.cast(is_bad, "float32"))])
    # Sums of finite vectors may overflow. The weights are already equal on all replicas.
    weights = [weight for weight in state if keras.backend.is_float_dtype(weight.dtype)]
    checks = [count > 0, ops.equal(bad, 0), *(ops.all(ops.isfinite(w)) for w in weights)]
    return ops.all(ops.stack(checks))
