"""The contract of a prior: a distribution over grids of codes, to fit and to draw from."""

import math
from collections.abc import Sequence
from typing import Any, Self

import keras
import numpy as np
from keras import ops

from keras_vq import _backend, _validation
from keras_vq._hyperparameter import Hyperparameter
from keras_vq._inputs import is_data_set, with_labels
from keras_vq._model import Model
from keras_vq._types import Tensor
from keras_vq.priors._conditioning import Conditioning
from keras_vq.priors.sampling import checked_options, uniform_numbers

# What a batch of samples may take, unless the user says how many: logits, caches, codes.
_BYTES_OF_A_BATCH = 2**29
_LARGEST_BATCH = 256


class CodePrior(Model):
    """Abstract model of a grid of codes, with which a VQ-VAE generates.

        prior.fit_codes(vqvae, images)
        images = vqvae.generate(prior, 100)

    It is a `keras.Model` of codes: `fit`, `evaluate`, callbacks and files are Keras's. The loss
    is the cross-entropy in nats a code; the logs add `bits_per_grid`, of all codes of an image.

    A subclass implements `code_logits`, `sample_batch` and `draws_shape`, and names its network.

    Args:
        codebook_size: Number of codes; for several codes a position a list with one number a
            level.
        grid_shape: Shape of the grid of positions, such as `(7, 7)`, without the levels.
        num_classes: Number of labels to generate by; None for no labels.
        condition_size: Codebook size, or sizes, of a coarser grid of codes that is given; None
            for none.
        condition_shape: Shape of that grid; it divides `grid_shape`.
        label_dropout: Share of labels that are left out in training, in [0, 1): so the model
            learns to do without them, which guidance and `labels=None` need.
        dim: Width of the network.
        seed: Seed of what is random in training.
        **kwargs: Arguments of `keras.Model`.

    Call arguments:
        inputs: Int32 tensor of codes of shape `(batch, *grid_shape)`, with an axis of L levels
            at the end if there are several. A model with labels or a condition takes a
            dictionary: `codes`, `labels` (int32 `(batch,)`), `condition`.

    Returns:
        A dictionary: `logits`, for each level a float32 tensor `(batch, N, size)` over the N
        positions in row-major order.

    Raises:
        ValueError: If an argument is out of its range.
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
        dim: int = 128,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.codebook_size, self.codebook_sizes = _sizes("codebook_size", codebook_size)
        self.grid_shape = _grid("grid_shape", grid_shape)
        if num_classes is not None:
            num_classes = _validation.check_positive_integer("num_classes", num_classes)
        self.num_classes = num_classes
        if (condition_size is None) != (condition_shape is None):
            raise ValueError(
                "`condition_size` and `condition_shape` come together, or neither. Received: "
                f"condition_size={condition_size!r}, condition_shape={condition_shape!r}"
            )
        size: Any = None
        sizes: tuple[int, ...] = ()
        grid: tuple[int, ...] | None = None
        if condition_size is not None and condition_shape is not None:
            size, sizes = _sizes("condition_size", condition_size)
            grid = _grid("condition_shape", condition_shape)
            _check_divides(grid, self.grid_shape)
        self.condition_size: int | tuple[int, ...] | None = size
        self.condition_sizes = sizes
        self.condition_shape = grid
        self.label_dropout = label_dropout
        self.dim = _validation.check_positive_integer("dim", dim)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.conditioning = Conditioning(
            self.dim,
            as_plane(self.grid_shape),
            self.num_classes or 0,
            self.condition_sizes,
            as_plane(self.condition_shape or (1,)),
            dtype=self.dtype_policy,
        )
        self.bits_tracker = keras.metrics.Mean(name="bits_per_grid")

    # --- what a subclass implements

    def build_network(self) -> None:
        """Creates and builds the layers; the constructor of a subclass ends in `build()`."""
        raise NotImplementedError

    def code_logits(self, codes: Tensor, given: Tensor | None, training: bool) -> dict[str, Any]:
        """Logits of codes, and where the loss counts.

        Args:
            codes: Int32 tensor of shape `(batch, N, L)`.
            given: What `Conditioning` makes of label and condition.
            training: Whether for a training step.

        Returns:
            `logits` (see the class); where not every code counts `counted`, a float tensor
            `(batch, N, L)` of weights; where the cross-entropy of codes is not that of the
            logits `nats`, of the same shape.
        """
        raise NotImplementedError

    def draws_shape(self) -> tuple[int, ...]:
        """Shape of the uniform numbers that one sample takes."""
        raise NotImplementedError

    def sample_batch(
        self, inputs: dict[str, Tensor], top_k: int | None, nucleus: bool, guided: bool
    ) -> Tensor:
        """Codes `(batch, N, L)` from uniform numbers, labels and options, compiled by `generate`.

        Args:
            inputs: `uniforms`, `temperature` and, as far as they are used, `labels`,
                `condition`, `top_p` and `guidance`: tensors with a row for each sample.
            top_k: See `generate`.
            nucleus: Whether `top_p` is used.
            guided: Whether `guidance` is used.
        """
        raise NotImplementedError

    def floats_of_a_sample(self) -> int:
        """About how many numbers sampling keeps in memory for one sample."""
        return 4 * self.positions * (self.dim + sum(self.codebook_sizes))

    # --- training

    @classmethod
    def for_codes_of(cls, vqvae: Any, **options: Any) -> Self:
        """A prior for the codes of a VQ-VAE, built for its images.

        Args:
            vqvae: A built `VQVAE`.
            **options: The other arguments of the class.
        """
        return cls(*codes_of(vqvae.quantizer, vqvae.code_shape), **options)

    @property
    def positions(self) -> int:
        """Number of positions of the grid, N."""
        return math.prod(self.grid_shape)

    @property
    def code_shape(self) -> tuple[int, ...]:
        """Shape of the codes of one image: the grid's, with the levels if there are several."""
        return _with_levels(self.grid_shape, self.codebook_size)

    def fit_codes(
        self,
        vqvae: Any,
        images: Any,
        labels: Any = None,
        validation_data: Any = None,
        batch_size: int = 128,
        epochs: int = 1,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Encodes images once, then fits the prior to their codes.

        Compiles the prior, where the user has not, with Adam at its usual learning rate.

        Args:
            vqvae: A trained `VQVAE`.
            images: Array of shape `(n, height, width, channels)`, or a data set of such batches.
            labels: Integers of shape `(n,)`, for a prior with `num_classes`; None takes those of a
                data set of (image, label) batches.
            validation_data: Images, a pair (images, labels), or a data set.
            batch_size: Images of a step.
            epochs: Passes through the codes.
            **kwargs: Further arguments of `fit`.

        Returns:
            The history of `fit`.

        Raises:
            ValueError: If the codes are not those of the prior's grid, or labels are wrong.
        """
        sizes, grid = codes_of(vqvae.quantizer, vqvae.code_shape)
        if (sizes, tuple(grid)) != (self.codebook_size, self.grid_shape):
            raise ValueError(
                f"This prior is of {self.codebook_size} codes on a grid {self.grid_shape}, the "
                f"model has {sizes} on {grid}: make one with `for_codes_of(vqvae)`. "
                f"Received: {vqvae!r}"
            )
        takes_labels = self.num_classes is not None
        inputs = self.as_inputs(*encoded(vqvae, images, labels, takes_labels=takes_labels))
        validation = None
        if validation_data is not None:
            pair = validation_data if isinstance(validation_data, tuple) else (validation_data,)
            validation = self.as_inputs(*encoded(vqvae, *pair, takes_labels=takes_labels))
        return self.fit_inputs(inputs, validation, batch_size=batch_size, epochs=epochs, **kwargs)

    def fit_inputs(
        self, inputs: Any, validation: Any = None, **kwargs: Any
    ) -> keras.callbacks.History:
        """Fits to what `as_inputs` made; compiles with Adam where the user has not.

        Args:
            inputs: Of training images.
            validation: Of others, or None.
            **kwargs: Further arguments of `fit`.
        """
        if not self.compiled:
            self.compile(keras.optimizers.Adam())
        if validation is not None:
            # A pair, so that Keras does not take the codes for a data set; codes are their own
            # targets.
            kwargs["validation_data"] = (validation, None)
        return self.fit(inputs, **kwargs)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Trains the prior; takes what `keras.Model.fit` takes.

        Args:
            x: Codes, or what `as_inputs` makes of codes, labels and condition; or a data set of
                them.
            y: None: codes are their own targets.
            batch_size: Grids of a step, 32 when None; left out where `x` yields batches.
            epochs: Passes through the codes.
            **kwargs: `validation_data` (a pair of such inputs and None), `callbacks` and so on.

        Returns:
            The history: loss in nats a code and bits of a grid, by epoch.

        Raises:
            ValueError: If codes are not those of the grid, or the loss stops being finite.
        """
        self._check_inputs(x)
        validation = kwargs.get("validation_data")
        self._check_inputs(validation[0] if isinstance(validation, tuple) else None)
        return super().fit(x, y, batch_size, epochs, **kwargs)

    def evaluate(self, x: Any = None, y: Any = None, **kwargs: Any) -> Any:
        """Loss in nats a code, and bits of a grid; takes what `keras.Model.evaluate` takes."""
        self._check_inputs(x)
        return super().evaluate(x, y, **kwargs)

    def _check_inputs(self, x: Any) -> None:
        """Checks arrays; a data set is read as it comes."""
        codes = x.get("codes") if isinstance(x, dict) else x
        if isinstance(codes, np.ndarray) or ops.is_tensor(codes):
            _check_rows(_checked_codes("codes", codes, self.code_shape, self.codebook_sizes))

    def as_inputs(self, codes: Any, labels: Any = None, condition: Any = None) -> Any:
        """What `fit` and `evaluate` take: codes, with labels and condition if there are any.

        Args:
            codes: Integer array of shape `(n, *code_shape)`.
            labels: Whole numbers of shape `(n,)`; None for no labels.
            condition: Integer array of the coarser codes.

        Returns:
            An array, or a dictionary of arrays.

        Raises:
            ValueError: If one has not the shape or range it must have, or is missing.
        """
        codes = _checked_codes("codes", codes, self.code_shape, self.codebook_sizes)
        given = self._given(len(codes), labels, condition)
        return {"codes": codes, **given} if given else codes

    def _given(self, n: int, labels: Any, condition: Any) -> dict[str, np.ndarray]:
        """Labels and condition as arrays of n rows, as far as the prior takes them."""
        given = {}
        if self.num_classes is not None:
            given["labels"] = self._checked_labels(n, labels)
        elif labels is not None:
            raise ValueError(
                "This prior was made without `num_classes`, and takes no labels. "
                f"Received: labels={labels!r}"
            )
        if self.condition_shape is not None:
            assert self.condition_size is not None
            shape = _with_levels(self.condition_shape, self.condition_size)
            given["condition"] = _checked_codes(
                "condition", condition, shape, self.condition_sizes, n
            )
        elif condition is not None:
            raise ValueError(
                "This prior was made without `condition_shape`, and takes no condition. "
                f"Received: a condition of shape {np.shape(condition)}"
            )
        return given

    def _checked_labels(self, n: int, labels: Any) -> np.ndarray:
        assert self.num_classes is not None
        if labels is None:
            if self.label_dropout == 0:
                raise ValueError(
                    "`labels` are needed: with `label_dropout=0` the prior has not learnt to do "
                    "without. Received: labels=None"
                )
            return np.full(n, self.num_classes, "int32")
        labels = np.asarray(ops.convert_to_numpy(labels))
        is_right = labels.dtype.kind in "iu" and labels.shape == (n,)
        if not is_right or labels.min(initial=0) < 0 or labels.max(initial=0) >= self.num_classes:
            span = f", {labels.min()} to {labels.max()}" if labels.size else ""
            raise ValueError(
                f"`labels` must be {n} whole numbers from 0 to {self.num_classes - 1}. "
                f"Received: {labels.dtype} values of shape {labels.shape}{span}"
            )
        return labels.astype("int32")

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """Logits of a batch of codes."""
        codes, given = self._unpacked(inputs)
        if training and self.num_classes is not None:
            given = {**given, "labels": self._some_left_out(given["labels"])}
        return self.code_logits(codes, self.conditioning(given), bool(training))

    def _unpacked(self, inputs: Any) -> tuple[Tensor, dict[str, Tensor]]:
        given = dict(inputs) if isinstance(inputs, dict) else {"codes": inputs}
        return self.flat(given.pop("codes")), given

    def flat(self, codes: Tensor) -> Tensor:
        """Codes as an int32 tensor of shape `(batch, N, L)`."""
        codes = ops.convert_to_tensor(codes, dtype="int32")
        return ops.reshape(codes, (-1, self.positions, len(self.codebook_sizes)))

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
        """Computes the cross-entropy in nats per code, averaged over the codes that count."""
        del y, training
        codes, _ = self._unpacked(x)
        nats = y_pred["nats"] if "nats" in y_pred else nats_of(y_pred["logits"], codes)
        counted = y_pred.get("counted", ops.ones_like(nats))
        if sample_weight is not None:
            counted = counted * ops.reshape(sample_weight, (-1, 1, 1))
        mean = ops.sum(nats * counted) / ops.maximum(ops.sum(counted), 1e-12)
        bits = mean * self.positions * len(self.codebook_sizes) / math.log(2)
        self.bits_tracker.update_state(bits, sample_weight=ops.shape(codes)[0])
        return (mean + sum(self.losses, start=0.0)) / _backend.loss_replicas()

    # --- likelihood

    def log_likelihood(
        self, codes: Any, labels: Any = None, condition: Any = None, batch_size: int = 128
    ) -> np.ndarray:
        """Log-likelihood of the codes of images, in nats.

        Args:
            codes: Integer array of shape `(n, *code_shape)`.
            labels: Whole numbers of shape `(n,)`; None for the likelihood without labels.
            condition: Integer array of the coarser codes.
            batch_size: Images computed at a time.

        Returns:
            Float32 array of shape `(n,)`, also for n = 0.
        """
        inputs = self.as_inputs(codes, labels, condition)
        return self.apply_in_batches("log_likelihood_batch", inputs, batch_size)

    def log_likelihood_batch(self, inputs: Any) -> Tensor:
        """Log-likelihood of a batch of codes, in nats, shape `(batch,)`."""
        codes, given = self._unpacked(inputs)
        logits = self.code_logits(codes, self.conditioning(given), False)["logits"]
        return -ops.sum(nats_of(logits, codes), axis=(1, 2))

    def bits_per_image(self, codes: Any, labels: Any = None, condition: Any = None) -> float:
        """Mean bits of the codes of an image: what a perfect arithmetic coder would take.

        Args:
            codes: Integer array of shape `(n, *code_shape)`.
            labels: See `log_likelihood`.
            condition: See `log_likelihood`.

        Raises:
            ValueError: If there are no codes.
        """
        nats = -self.log_likelihood(codes, labels, condition).astype("float64")
        _check_rows(nats)
        return float(nats.mean() / math.log(2))

    def bits_per_dimension(
        self, codes: Any, image_shape: Sequence[int], labels: Any = None, condition: Any = None
    ) -> float:
        """Bits of the codes of an image for each number of the image (each colour of a pixel).

        It is the rate of the codes alone: what the decoder leaves out is not in it.

        Args:
            codes: Integer array of shape `(n, *code_shape)`.
            image_shape: `(height, width, channels)` of the images.
            labels: See `log_likelihood`.
            condition: See `log_likelihood`.
        """
        return self.bits_per_image(codes, labels, condition) / math.prod(image_shape)

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
        """New grids of codes.

        Args:
            n: How many.
            labels: What of: a whole number for all, or an array of shape `(n,)`; None for
                anything.
            condition: Coarser codes of shape `(n, ...)`, for a prior that takes them.
            temperature: Above 0; below 1 for likelier and less varied codes.
            top_k: Number of likeliest codes that may be drawn; None for all.
            top_p: Draws from the smallest set of likeliest codes that has this share of the
                probability, in (0, 1]; None for all.
            guidance: How much to follow the labels: 1 as learnt, more for more typical images;
                None is 1 and takes half the time.
            seed: The same seed draws the same codes, whatever the batch size.
            batch_size: Samples computed at a time; None for what memory allows, 256 at most.

        Returns:
            Int32 array of shape `(n, *code_shape)`.

        Raises:
            ValueError: If an argument is out of its range.
        """
        n = _validation.check_positive_integer("n", n)
        options = checked_options(temperature, top_k, top_p, guidance)
        temperature, top_k, top_p, guidance = options
        if guidance is not None and labels is None:
            raise ValueError(f"`guidance` needs labels. Received: guidance={guidance}, no labels")
        if labels is not None and np.ndim(labels) == 0:
            labels = np.full(n, labels)
        inputs = {
            "uniforms": uniform_numbers(seed, (n, *self.draws_shape())),
            "temperature": np.full(n, temperature, "float32"),
            **self._given(n, labels, condition),
        }
        for name, value in (("top_p", top_p), ("guidance", guidance)):
            if value is not None:
                inputs[name] = np.full(n, value, "float32")
        if batch_size is None:
            bytes_of_a_sample = 4 * self.floats_of_a_sample() * (1 if guidance is None else 2)
            batch_size = min(_LARGEST_BATCH, max(1, _BYTES_OF_A_BATCH // bytes_of_a_sample))
        codes = self.apply_in_batches(
            "sample_batch",
            _filled_up(inputs, n, batch_size),
            min(n, batch_size),
            batches_without_bar=4,
            top_k=top_k,
            nucleus=top_p is not None,
            guided=guidance is not None,
        )
        return codes[:n].reshape((n, *self.code_shape)).astype("int32")

    def conditions(self, inputs: dict[str, Tensor], guided: bool) -> Tensor | None:
        """What `Conditioning` makes of inputs; when guided below it the same without labels."""
        given = self.conditioning(inputs)
        if not guided:
            return given
        without = ops.full_like(inputs["labels"], self.num_classes)
        return ops.concatenate([given, self.conditioning({**inputs, "labels": without})], axis=0)

    # --- structure

    def build(self, input_shape: Any = None) -> None:
        """Creates and builds all layers: the shape of codes is known from the start."""
        del input_shape
        if not self.conditioning.built:
            self.conditioning.build((None,))
            self.build_network()
            self.built = True

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "codebook_size": self.codebook_size,
            "grid_shape": self.grid_shape,
            "num_classes": self.num_classes,
            "condition_size": self.condition_size,
            "condition_shape": self.condition_shape,
            "label_dropout": self.label_dropout,
            "dim": self.dim,
            "seed": self.seed,
        }


def nats_of(logits: Sequence[Tensor], codes: Tensor) -> Tensor:
    """Cross-entropy of each code, in nats.

    Args:
        logits: For each of L levels a float tensor of shape `(..., size)`.
        codes: Int32 tensor of shape `(..., L)`.

    Returns:
        Float32 tensor of shape `(..., L)`.
    """
    levels = [
        ops.sparse_categorical_crossentropy(codes[..., level], of_level, from_logits=True)
        for level, of_level in enumerate(logits)
    ]
    return ops.stack(levels, axis=-1)


def as_plane(shape: tuple[int, ...]) -> tuple[int, int]:
    """A grid of any number of axes as (height, width), its rows below each other."""
    return math.prod(shape[:-1]), shape[-1]


def encoded(vqvae: Any, images: Any, labels: Any = None, *, takes_labels: bool) -> tuple[Any, Any]:
    """Returns the codes of images, and their labels, which a data set may bring with it.

    Args:
        vqvae: A model with a method `encode_to_codes`.
        images: An array, or a data set.
        labels: Integers of shape `(n,)`, or None.
        takes_labels: Whether to take labels from a data set where `labels` is None.
    """
    if labels is not None or not takes_labels or not is_data_set(images):
        return vqvae.encode_to_codes(images), labels
    found: list[np.ndarray] = []
    codes = vqvae.encode_to_codes(with_labels(images, found))
    return codes, np.concatenate(found) if found else None


def codes_of(quantizer: Any, code_shape: Any) -> tuple[int | tuple[int, ...], tuple[int, ...]]:
    """Codebook size, or sizes, and grid of the codes of a quantizer.

    Args:
        quantizer: A `Quantizer`.
        code_shape: Shape of the codes of one image; None or with None where it is not known.

    Raises:
        ValueError: If it is not known.
    """
    if code_shape is None or None in tuple(code_shape):
        raise ValueError(
            "The shape of the model's codes is not known: give its encoder an Input of the images' "
            f"shape, and fit it or call it on a batch. Received: code_shape={code_shape}"
        )
    shape, sizes = tuple(code_shape), tuple(quantizer.codebook_sizes)
    if quantizer.index_shape:
        return sizes, shape[: -len(quantizer.index_shape)]
    return sizes[0], shape


def _sizes(name: str, value: Any) -> tuple[int | tuple[int, ...], tuple[int, ...]]:
    """The size or sizes as given, and as a tuple."""
    if not hasattr(value, "__iter__"):
        size = _validation.check_positive_integer(name, value)
        return size, (size,)
    sizes = tuple(_validation.check_positive_integer(f"{name}[...]", size) for size in value)
    if not sizes:
        raise ValueError(f"`{name}` must hold at least one number. Received: {value!r}")
    return sizes, sizes


def _with_levels(grid: tuple[int, ...], size: int | tuple[int, ...]) -> tuple[int, ...]:
    """The grid, with an axis of levels where there are several sizes."""
    return grid if isinstance(size, int) else (*grid, len(size))


def _grid(name: str, value: Any) -> tuple[int, ...]:
    if not hasattr(value, "__iter__") or not list(value):
        raise ValueError(f"`{name}` must be a shape such as (7, 7). Received: {value!r}")
    return tuple(_validation.check_positive_integer(f"{name}[...]", size) for size in value)


def _check_divides(coarse: tuple[int, ...], fine: tuple[int, ...]) -> None:
    pairs = zip(coarse, fine, strict=False)
    if len(coarse) != len(fine) or any(size % part for part, size in pairs):
        raise ValueError(
            "`condition_shape` must have as many axes as `grid_shape`, and divide it. "
            f"Received: {coarse} and {fine}"
        )
    if any(part != size for part, size in zip(coarse[:-2], fine[:-2], strict=True)):
        raise ValueError(
            "`condition_shape` may be coarser than `grid_shape` in the last two axes only. "
            f"Received: {coarse} and {fine}"
        )


def _checked_codes(
    name: str, codes: Any, shape: tuple[int, ...], sizes: tuple[int, ...], n: int | None = None
) -> np.ndarray:
    """The codes as an int32 array, if they have the shape and range that they must have."""
    codes = np.asarray(None if codes is None else ops.convert_to_numpy(codes))
    is_right = codes.dtype.kind in "iu" and codes.shape[1:] == shape and codes.ndim > 0
    if not is_right or (n is not None and len(codes) != n):
        raise ValueError(
            f"`{name}` must be whole numbers of shape ({'n' if n is None else n}, "
            f"{', '.join(map(str, shape))}). "
            f"Received: {codes.dtype} values of shape {codes.shape}"
        )
    return _validation.check_codes(name, codes, sizes)


def _check_rows(rows: np.ndarray) -> None:
    """Checks that there are codes of at least one image."""
    if len(rows) == 0:
        raise ValueError(
            "`codes` must be those of at least one image. Received: no rows. Check that the array "
            "or data set of images is not empty"
        )


def _filled_up(inputs: dict[str, np.ndarray], n: int, batch_size: int) -> dict[str, np.ndarray]:
    """The inputs with rows repeated to whole batches: one compilation serves all."""
    missing = -n % min(n, batch_size)
    rows = np.concatenate([np.arange(n), np.arange(missing)])
    return {name: values[rows] for name, values in inputs.items()} if missing else inputs
