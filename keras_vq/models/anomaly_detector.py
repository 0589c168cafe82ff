"""Detection of anomalies by the errors or likelihoods of a model."""

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_vq import _validation
from keras_vq._inputs import inputs_of, is_data_set, to_numpy
from keras_vq.models._arrays import check_not_empty
from keras_vq.models._likelihood_estimates import LikelihoodEstimates
from keras_vq.models.base import ReconstructionModel


class AnomalyDetector:
    """Detector of inputs that are unlike the training data of a model.

    The anomaly score of an input is higher the less it resembles the training data:

    - `"reconstruction"`: the mean squared error of its reconstruction. For all models.
    - `"likelihood"`: the negative ELBO, in nats. For `VAE` and `IWAE`.
    - `"codes"`: the negative log-likelihood of its codes under a prior, in nats. For models with
      codes.

    `fit` sets the threshold above which an input is an anomaly to a quantile of the scores of
    normal data, which should not be the training data of the model, whose scores are too low.
    Sources: Kingma and Welling, "Auto-Encoding Variational Bayes", 2013; codes: Marimont and
    Tarroni, "Anomaly Detection through Latent Space Restoration using Vector Quantized Variational
    Autoencoders", 2021.

    Args:
        model: Trained `Autoencoder`, `VAE`, `IWAE`, `VQVAE` or other model of this package.
        score: String. `"reconstruction"`, `"likelihood"` or `"codes"`. Defaults to
            `"reconstruction"`.
        prior: Prior with a method `log_likelihood(codes)`, fitted to codes of the model, such as a
            `keras_vq.priors.PixelCNNPrior`. Required for `"codes"` and not accepted otherwise.
            Defaults to `None`.
        threshold: Float or `None`. Score above which an input is an anomaly. Defaults to `None`,
            which means that `fit` determines it.
        samples: Integer. Number of samples of the ELBO. Defaults to 16.
        batch_size: Integer. Batch size of arrays. Defaults to 128.

    Raises:
        ValueError: If an argument is invalid, or the model has no such score.

    Example:
        >>> import numpy as np, keras_vq
        >>> images = np.random.default_rng(0).random((64, 8, 8, 1), "float32")
        >>> model = keras_vq.Autoencoder(*keras_vq.networks.dense((8, 8, 1), latent_dim=4))
        >>> model.compile("adam")
        >>> history = model.fit(images, epochs=1, verbose=0)
        >>> detector = keras_vq.AnomalyDetector(model).fit(images, quantile=0.75)
        >>> float(detector.predict(images).mean())
        0.25
    """

    def __init__(
        self,
        model: ReconstructionModel,
        score: str = "reconstruction",
        prior: Any = None,
        threshold: float | None = None,
        samples: int = 16,
        batch_size: int = 128,
    ) -> None:
        if not isinstance(model, ReconstructionModel):
            raise ValueError(f"`model` must be a model of `keras_vq`. Received: {model!r}")
        scores: dict[str, Callable[[Any], np.ndarray]] = {
            "reconstruction": self._squared_errors,
            "likelihood": self._negative_elbo,
            "codes": self._nats_of_codes,
        }
        self.model, self.prior = model, prior
        self.kind = _validation.check_choice("score", score, tuple(scores))
        self._score = scores[self.kind]
        self.samples = _validation.check_positive_integer("samples", samples)
        self.batch_size = _validation.check_positive_integer("batch_size", batch_size)
        self.threshold = (
            None if threshold is None else _validation.check_finite("threshold", threshold)
        )
        if score == "likelihood" and not isinstance(model, LikelihoodEstimates):
            raise ValueError(
                "`score='likelihood'` requires a VAE or an IWAE. "
                f"Received: model of type {type(model).__name__}"
            )
        if (score == "codes") != (prior is not None):
            raise ValueError(
                "`prior` is required for `score='codes'`, and is not accepted for other scores. "
                f"Received: score={score!r}, prior={prior!r}"
            )
        if prior is not None and not callable(getattr(prior, "log_likelihood", None)):
            raise ValueError(
                "`prior` must have a method `log_likelihood(codes)`, such as "
                f"`keras_vq.priors.TransformerPrior`. Received: {prior!r}"
            )

    def fit(self, inputs: Any, quantile: float = 0.99) -> "AnomalyDetector":
        """Sets the threshold to a quantile of the scores of normal inputs.

        Args:
            inputs: Array of shape `(n, ...)`, or a dataset that yields batches of that form.
            quantile: Float in [0, 1]. Fraction of the inputs below the threshold. Defaults to 0.99.

        Returns:
            The detector.

        Raises:
            ValueError: If `quantile` is out of range, or there are no inputs.
        """
        if not 0.0 <= _validation.check_finite("quantile", quantile) <= 1.0:
            raise ValueError(f"`quantile` must be in [0, 1]. Received: {quantile!r}")
        scores = self.score(inputs)
        check_not_empty(scores, "inputs")
        self.threshold = float(np.quantile(scores, quantile))
        return self

    def score(self, inputs: Any) -> np.ndarray:
        """Computes the anomaly score of each input.

        Args:
            inputs: Array of shape `(n, ...)`, or a dataset that yields batches of that form.

        Returns:
            Float64 array of shape `(n,)`.
        """
        parts = inputs_of(inputs, self.batch_size, "inputs") if is_data_set(inputs) else [inputs]
        scores = [self._score(to_numpy(part, "inputs")) for part in parts]
        return np.concatenate(scores) if scores else np.zeros(0)

    def predict(self, inputs: Any) -> np.ndarray:
        """Returns whether each input is an anomaly: a Boolean array of shape `(n,)`.

        Args:
            inputs: Array of shape `(n, ...)`, or a dataset that yields batches of that form.

        Raises:
            ValueError: If there is no threshold.
        """
        if self.threshold is None:
            raise ValueError(
                "The detector has no threshold. Call `fit` on normal data, or pass `threshold`."
            )
        return self.score(inputs) > self.threshold

    def _squared_errors(self, inputs: np.ndarray) -> np.ndarray:
        made = self.model.reconstruct(inputs, self.batch_size)
        errors = np.square(inputs.astype("float64") - made)
        return errors.reshape(len(inputs), -1).mean(axis=1) if len(inputs) else np.zeros(0)

    def _negative_elbo(self, inputs: np.ndarray) -> np.ndarray:
        # A fixed seed, so that an input has the same score each time.
        return -self.model.elbo(inputs, self.samples, seed=0) if len(inputs) else np.zeros(0)

    def _nats_of_codes(self, inputs: np.ndarray) -> np.ndarray:
        codes = self.model.encode(inputs, self.batch_size)
        return -np.asarray(self.prior.log_likelihood(codes), "float64")
