"""Base class of priors over code grids."""

import math
from collections.abc import Sequence
from typing import Any, Self

import keras
import numpy as np
from keras import ops

from keras_vq import _validation, backend
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._model import Model
from keras_vq._types import Tensor
from keras_vq.priors._codes import (
    as_plane,
    check_divides,
    check_rows,
    checked_codes,
    checked_grid,
    checked_sizes,
    codes_of,
    encoded,
    filled_up,
    nats_of,
    with_stages,
)
from keras_vq.priors._conditioning import Conditioning
from keras_vq.priors.sampling import checked_options, uniform_numbers

# Memory budget (logits, caches, codes) and size limit of a sampling batch without `batch_size`.
_BYTES_OF_A_BATCH = 2**29
_LARGEST_BATCH = 256


class CodePrior(Model):
    """Base class of priors over code grids, from which a VQ-VAE generates new data.

        prior.fit_codes(vqvae, inputs)
        generated = vqvae.generate(100, prior)

    A prior is a `keras.Model` of codes: `fit`, `evaluate`, callbacks and saving work as in Keras.
    The loss is the cross-entropy in nats per code. The logs also contain `bits_per_grid`, the
    bits of all codes of an input.

    A subclass implements `_build_network`, `_code_logits`, `_sample_batch` and `_uniforms_shape`.

    Args:
        codebook_size: Integer. Codebook size. If each position has several codes (residual or
            product quantization), a list with the size of each codebook.
        grid_shape: Tuple of integers. Shape of the grid of positions, such as `(7, 7)`, without
            the axis of several codes.
        num_classes: Integer. Number of classes for class conditioning. None disables it.
            Defaults to None.
        condition_size: Integer, or list of integers. Codebook size or sizes of a coarser code
            grid that the prior is conditioned on. None disables it. Defaults to None.
        condition_shape: Tuple of integers. Shape of the coarser grid. Must have as many axes as
            `grid_shape`, divide it in the last two, and equal it in the others. Required with
            `condition_size`. Defaults to None.
        label_dropout: Float in [0, 1). Share of labels that are replaced by "no label" in
            training, which guidance and `labels=None` require. Defaults to 0.1.
        hidden_dim: Integer. Width of the network. Defaults to 128.
        seed: Integer. Seed of the random numbers in training. Defaults to None.
        **kwargs: Arguments of `keras.Model`.

    Call arguments:
        inputs: Int32 tensor of codes of shape `(batch, *grid_shape)`, with a last axis of L codes
            if there are L codebooks. With conditioning, a dictionary: `codes`, `labels` (int32 of
            shape `(batch,)`), `condition` (int32, coarser codes).

    Returns:
        Dictionary with `logits`, a tuple with one float32 tensor of shape `(batch, N, size)` per
        codebook, for the N positions in row-major order. Subclasses may add entries.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> import numpy as np, keras_vq
        >>> prior = keras_vq.priors.PixelCNNPrior(16, (2, 2), hidden_dim=8)  # a subclass
        >>> tuple(prior(np.zeros((3, 2, 2), "int32"))["logits"][0].shape)
        (3, 4, 16)
    """

    label_dropout = Hyperparameter(_validation.check_fraction)

    def __init__(
        self,
        codebook_size: int | Sequence[int],
        grid_shape: Sequence[int],
        num_classes: int | None = None,
        condition_size: int | Sequence[int] | None = None,
        condition_shape: Sequence[int] | None = None,
        label_dropout: float = 0.1,
        hidden_dim: int = 128,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.codebook_size, self.codebook_sizes = checked_sizes("codebook_size", codebook_size)
        self.grid_shape = checked_grid("grid_shape", grid_shape)
        if num_classes is not None:
            num_classes = _validation.check_positive_integer("num_classes", num_classes)
        self.num_classes = num_classes
        if (condition_size is None) != (condition_shape is None):
            raise ValueError(
                "`condition_size` and `condition_shape` must be set together. Received: "
                f"condition_size={condition_size!r}, condition_shape={condition_shape!r}"
            )
        size: Any = None
        sizes: tuple[int, ...] = ()
        grid: tuple[int, ...] | None = None
        if condition_size is not None and condition_shape is not None:
            size, sizes = checked_sizes("condition_size", condition_size)
            grid = checked_grid("condition_shape", condition_shape)
            check_divides(grid, self.grid_shape)
        self.condition_size: int | tuple[int, ...] | None = size
        self.condition_sizes = sizes
        self.condition_shape = grid
        self.label_dropout = label_dropout
        self.hidden_dim = _validation.check_positive_integer("hidden_dim", hidden_dim)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.conditioning = Conditioning(
            self.hidden_dim,
            as_plane(self.grid_shape),
            self.num_classes or 0,
            self.condition_sizes,
            as_plane(self.condition_shape or (1,)),
            dtype=self.dtype_policy,
        )
        self.bits_tracker = keras.metrics.Mean(name="bits_per_grid")

    # --- methods to implement

    def _build_network(self) -> None:
        """Creates and builds the layers.

        `build` calls it; the constructor of a subclass must end with `self.build()`.
        """
        raise NotImplementedError

    def _code_logits(self, codes: Tensor, given: Tensor | None, training: bool) -> dict[str, Any]:
        """Computes the logits of all codes.

        Args:
            codes: Int32 tensor of shape `(batch, N, L)`.
            given: Output of `Conditioning`, or None.
            training: Boolean. Whether the call is part of a training step.

        Returns:
            Dictionary with `logits` (see the class) and two optional float tensors of shape
            `(batch, N, L)`: `counted`, the weights of the codes in the loss (1 by default), and
            `nats`, the negative log-likelihood of each code (the cross-entropy of the logits by
            default).
        """
        raise NotImplementedError

    def _uniforms_shape(self) -> tuple[int, ...]:
        """Returns the shape of the uniform random numbers consumed per sample."""
        raise NotImplementedError

    def _sample_batch(
        self, inputs: dict[str, Tensor], top_k: int | None, nucleus: bool, guided: bool
    ) -> Tensor:
        """Samples codes of shape `(batch, N, L)`. `generate` compiles this method.

        Args:
            inputs: Dictionary of tensors with one row per sample: `uniforms`, `temperature` and, if
                used, `labels`, `condition`, `top_p` and `guidance`.
            top_k: See `generate`.
            nucleus: Boolean. Whether to use `top_p`.
            guided: Boolean. Whether to use `guidance`.
        """
        raise NotImplementedError

    def _floats_per_sample(self) -> int:
        """Returns the approximate number of floats held per sample while all codes are drawn."""
        return 4 * self._positions * (self.hidden_dim + sum(self.codebook_sizes))

    # --- training

    @classmethod
    def for_model(cls, vqvae: Any, **options: Any) -> Self:
        """Creates a prior for the codes of a VQ-VAE.

        Args:
            vqvae: A built `VQVAE`.
            **options: Other constructor arguments.
        """
        return cls(*codes_of(vqvae.quantizer, vqvae.code_shape), **options)

    @property
    def _positions(self) -> int:
        """Number of grid positions, N."""
        return math.prod(self.grid_shape)

    @property
    def code_shape(self) -> tuple[int, ...]:
        """Shape of the codes of one input: `grid_shape`, or `(*grid_shape, L)` for L codebooks."""
        return with_stages(self.grid_shape, self.codebook_size)

    def fit_codes(
        self,
        vqvae: Any,
        inputs: Any,
        labels: Any = None,
        validation_data: Any = None,
        batch_size: int = 128,
        epochs: int = 1,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Encodes inputs to codes once, then fits the prior to them.

        Compiles an uncompiled prior with Adam at the default learning rate.

        Args:
            vqvae: A trained `VQVAE`.
            inputs: Array of shape `(n, ...)`, or a data set of batches of that form.
            labels: Integer array of shape `(n,)`, for a prior with `num_classes`. None takes the
                labels of a data set of (inputs, labels) batches. Defaults to None.
            validation_data: Inputs, a tuple (inputs, labels), or a data set. Defaults to None.
            batch_size: Integer. Rows per training step. Defaults to 128.
            epochs: Integer. Number of epochs. Defaults to 1.
            **kwargs: Other arguments of `fit`.

        Returns:
            A `keras.callbacks.History`.

        Raises:
            ValueError: If the codebook sizes or the code shape of the model differ from those of
                the prior, or if labels are invalid.
        """
        sizes, grid = codes_of(vqvae.quantizer, vqvae.code_shape)
        if (sizes, tuple(grid)) != (self.codebook_size, self.grid_shape):
            raise ValueError(
                "The codebook size and grid shape of the model must be those of the prior, "
                f"{self.codebook_size} and {self.grid_shape}. Create a prior with "
                f"`for_model(vqvae)`. Received: {vqvae!r} with {sizes} and {grid}"
            )
        takes_labels = self.num_classes is not None
        codes = self.as_inputs(*encoded(vqvae, inputs, labels, takes_labels=takes_labels))
        validation = None
        if validation_data is not None:
            pair = validation_data if isinstance(validation_data, tuple) else (validation_data,)
            validation = self.as_inputs(*encoded(vqvae, *pair, takes_labels=takes_labels))
        return self._fit_inputs(codes, validation, batch_size=batch_size, epochs=epochs, **kwargs)

    def _fit_inputs(
        self, inputs: Any, validation: Any = None, **kwargs: Any
    ) -> keras.callbacks.History:
        """Fits the prior to the output of `as_inputs`.

        Compiles an uncompiled prior with Adam at the default learning rate.

        Args:
            inputs: Training inputs.
            validation: Validation inputs, or None. Defaults to None.
            **kwargs: Other arguments of `fit`.

        Returns:
            A `keras.callbacks.History`.
        """
        if not self.compiled:
            self.compile(keras.optimizers.Adam())
        if validation is not None:
            # A tuple without targets, so that Keras does not interpret the codes as a data set.
            kwargs["validation_data"] = (validation, None)
        return self.fit(inputs, **kwargs)

    def _run_fit(self, arguments: dict[str, Any]) -> keras.callbacks.History:
        """Checks the codes before training."""
        validation = arguments["validation_data"]
        self._check_inputs(arguments["x"])
        self._check_inputs(validation[0] if isinstance(validation, tuple) else None)
        return super()._run_fit(arguments)

    def _run_evaluate(self, arguments: dict[str, Any]) -> Any:
        """Checks the codes before evaluation."""
        self._check_inputs(arguments["x"])
        return super()._run_evaluate(arguments)

    def _check_inputs(self, x: Any) -> None:
        """Checks the codes of arrays; batches of a data set are not checked."""
        codes = x.get("codes") if isinstance(x, dict) else x
        if isinstance(codes, np.ndarray) or ops.is_tensor(codes):
            check_rows(checked_codes("codes", codes, self.code_shape, self.codebook_sizes))

    def as_inputs(self, codes: Any, labels: Any = None, condition: Any = None) -> Any:
        """Returns the inputs of `fit` and `evaluate`: codes, labels and coarser codes.

        Args:
            codes: Integer array of shape `(n, *code_shape)`.
            labels: Integer array of shape `(n,)`, or None. Defaults to None.
            condition: Integer array of coarser codes, for a prior with `condition_shape`. Defaults
                to None.

        Returns:
            An array of codes, or a dictionary of arrays for a conditional prior.

        Raises:
            ValueError: If an argument is missing, or has a wrong shape or range.
        """
        codes = checked_codes("codes", codes, self.code_shape, self.codebook_sizes)
        given = self._given(len(codes), labels, condition)
        return {"codes": codes, **given} if given else codes

    def _given(self, n: int, labels: Any, condition: Any) -> dict[str, np.ndarray]:
        """Returns labels and coarser codes as a dictionary of arrays with n rows."""
        given = {}
        if self.num_classes is not None:
            given["labels"] = self._checked_labels(n, labels)
        elif labels is not None:
            raise ValueError(
                "`labels` must be None for a prior without `num_classes`. "
                f"Received: labels={labels!r}"
            )
        if self.condition_shape is not None:
            assert self.condition_size is not None
            shape = with_stages(self.condition_shape, self.condition_size)
            given["condition"] = checked_codes(
                "condition", condition, shape, self.condition_sizes, n
            )
        elif condition is not None:
            raise ValueError(
                "`condition` must be None for a prior without `condition_shape`. "
                f"Received: a condition of shape {np.shape(condition)}"
            )
        return given

    def _checked_labels(self, n: int, labels: Any) -> np.ndarray:
        assert self.num_classes is not None
        if labels is None:
            if self.label_dropout == 0:
                raise ValueError(
                    "`labels` must be an array for a prior with `label_dropout=0`. Received: None"
                )
            return np.full(n, self.num_classes, "int32")
        labels = np.asarray(ops.convert_to_numpy(labels))
        is_right = labels.dtype.kind in "iu" and labels.shape == (n,)
        if not is_right or labels.min(initial=0) < 0 or labels.max(initial=0) >= self.num_classes:
            span = f", {labels.min()} to {labels.max()}" if labels.size else ""
            raise ValueError(
                f"`labels` must be {n} integers from 0 to {self.num_classes - 1}. "
                f"Received: {labels.dtype} values of shape {labels.shape}{span}"
            )
        return labels.astype("int32")

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """Computes the logits of a batch of codes."""
        codes, given = self._unpacked(inputs)
        if training and self.num_classes is not None:
            given = {**given, "labels": self._some_left_out(given["labels"])}
        return self._code_logits(codes, self.conditioning(given), bool(training))

    def _unpacked(self, inputs: Any) -> tuple[Tensor, dict[str, Tensor]]:
        given = dict(inputs) if isinstance(inputs, dict) else {"codes": inputs}
        return self._flat(given.pop("codes")), given

    def _flat(self, codes: Tensor) -> Tensor:
        """Returns codes as an int32 tensor of shape `(batch, N, L)`."""
        codes = ops.convert_to_tensor(codes, dtype="int32")
        return ops.reshape(codes, (-1, self._positions, len(self.codebook_sizes)))

    def _some_left_out(self, labels: Tensor) -> Tensor:
        draws = keras.random.uniform(ops.shape(labels), seed=self.seed_generator)
        return ops.where(draws < self.label_dropout, self.num_classes, labels)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Tensor | None = None,
        training: bool = True,
    ) -> Tensor:
        """Computes the cross-entropy in nats per code, as a mean weighted by `counted`."""
        del y, training
        codes, _ = self._unpacked(x)
        nats = y_pred["nats"] if "nats" in y_pred else nats_of(y_pred["logits"], codes)
        counted = y_pred.get("counted", ops.ones_like(nats))
        if sample_weight is not None:
            counted = counted * ops.reshape(sample_weight, (-1, 1, 1))
        mean = ops.sum(nats * counted) / ops.maximum(ops.sum(counted), 1e-12)
        bits = mean * self._positions * len(self.codebook_sizes) / math.log(2)
        self.bits_tracker.update_state(bits, sample_weight=ops.shape(codes)[0])
        return (mean + sum(self.losses, start=0.0)) / backend.loss_divisor()

    # --- likelihood

    def log_likelihood(
        self, codes: Any, labels: Any = None, condition: Any = None, batch_size: int = 128
    ) -> np.ndarray:
        """Computes the log-likelihood of codes, in nats per input.

        Args:
            codes: Integer array of shape `(n, *code_shape)`.
            labels: Integer array of shape `(n,)`. None computes the unconditional log-likelihood.
                Defaults to None.
            condition: Integer array of coarser codes. Defaults to None.
            batch_size: Integer. Rows per batch. Defaults to 128.

        Returns:
            Float32 array of shape `(n,)`, also for n = 0.
        """
        inputs = self.as_inputs(codes, labels, condition)
        return self._apply_in_batches(self._log_likelihood_batch, inputs, batch_size)

    def _log_likelihood_batch(self, inputs: Any) -> Tensor:
        """Computes the log-likelihood of a batch of codes, in nats. Shape `(batch,)`."""
        codes, given = self._unpacked(inputs)
        logits = self._code_logits(codes, self.conditioning(given), False)["logits"]
        return -ops.sum(nats_of(logits, codes), axis=(1, 2))

    def bits_per_input(self, codes: Any, labels: Any = None, condition: Any = None) -> float:
        """Computes the mean negative log-likelihood in bits per input.

        This is the code length of ideal entropy coding.

        Args:
            codes: Integer array of shape `(n, *code_shape)`.
            labels: See `log_likelihood`.
            condition: See `log_likelihood`.

        Raises:
            ValueError: If there are no codes.
        """
        nats = -self.log_likelihood(codes, labels, condition).astype("float64")
        check_rows(nats)
        return float(nats.mean() / math.log(2))

    def bits_per_dimension(
        self, codes: Any, input_shape: Sequence[int], labels: Any = None, condition: Any = None
    ) -> float:
        """Computes the bits per dimension (bpd) of the codes.

        The dimensions are the values of an input. The rate covers the codes only, not the
        reconstruction error of the decoder.

        Args:
            codes: Integer array of shape `(n, *code_shape)`.
            input_shape: Tuple of integers. Shape of one input, without the batch axis.
            labels: See `log_likelihood`.
            condition: See `log_likelihood`.
        """
        return self.bits_per_input(codes, labels, condition) / math.prod(input_shape)

    # --- sampling

    def generate(
        self,
        n: int,
        labels: Any = None,
        condition: Any = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        guidance: float | None = None,
        seed: int | None = None,
        batch_size: int | None = None,
    ) -> np.ndarray:
        """Samples new code grids.

        Args:
            n: Integer. Number of grids.
            labels: Integer, or integer array of shape `(n,)`. Classes to generate. None generates
                without labels. Defaults to None.
            condition: Integer array of coarser codes of shape `(n, ...)`, for a prior with
                `condition_shape`. Defaults to None.
            temperature: Float above 0. Softmax temperature; values below 1 give likelier and less
                varied codes. Defaults to 1.0.
            top_k: Integer. Number of most likely codes to sample from. None keeps all. Defaults to
                None.
            top_p: Float in (0, 1]. Samples from the smallest set of most likely codes with at least
                this total probability. None keeps all. Defaults to None.
            guidance: Float. Scale of classifier-free guidance, at least 0; requires labels. 1 is
                plain class-conditional sampling, larger values give results more typical of the
                class. None equals 1 at half the cost. Defaults to None.
            seed: Integer. Seed of the samples, which do not depend on `batch_size`. Defaults to
                None.
            batch_size: Integer. Samples per batch. None chooses at most 256 within a memory budget
                of 512 MiB. Defaults to None.

        Returns:
            Int32 array of shape `(n, *code_shape)`.

        Raises:
            ValueError: If an argument is out of range.
        """
        n = _validation.check_positive_integer("n", n)
        options = checked_options(temperature, top_k, top_p, guidance)
        temperature, top_k, top_p, guidance = options
        if guidance is not None and labels is None:
            raise ValueError(
                f"`guidance` requires `labels`. Received: guidance={guidance}, labels=None"
            )
        if labels is not None and np.ndim(labels) == 0:
            labels = np.full(n, labels)
        inputs = {
            "uniforms": uniform_numbers(seed, (n, *self._uniforms_shape())),
            "temperature": np.full(n, temperature, "float32"),
            **self._given(n, labels, condition),
        }
        for name, value in (("top_p", top_p), ("guidance", guidance)):
            if value is not None:
                inputs[name] = np.full(n, value, "float32")
        if batch_size is None:
            batch_size = self._sampling_batch_size(guided=guidance is not None)
        codes = self._apply_in_batches(
            self._sample_batch,
            filled_up(inputs, n, batch_size),
            min(n, batch_size),
            batches_without_bar=4,
            top_k=top_k,
            nucleus=top_p is not None,
            guided=guidance is not None,
        )
        return codes[:n].reshape((n, *self.code_shape)).astype("int32")

    def _sampling_batch_size(self, guided: bool) -> int:
        """Returns the largest number of samples at once within the memory budget."""
        bytes_of_a_sample = 4 * self._floats_per_sample() * (2 if guided else 1)
        return min(_LARGEST_BATCH, max(1, _BYTES_OF_A_BATCH // bytes_of_a_sample))

    def _conditions_of(self, inputs: dict[str, Tensor], guided: bool) -> Tensor | None:
        """Computes the output of `Conditioning`; with guidance, followed by that without labels."""
        given = self.conditioning(inputs)
        if not guided:
            return given
        without = ops.full_like(inputs["labels"], self.num_classes)
        return ops.concatenate([given, self.conditioning({**inputs, "labels": without})], axis=0)

    # --- structure

    def build(self, input_shape: Any = None) -> None:
        """Creates and builds all layers; ignores `input_shape`."""
        del input_shape
        if not self.conditioning.built:
            self.conditioning.build((None,))
            self._build_network()
            self.built = True
