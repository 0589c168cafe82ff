"""`keras.Model` without the shutdown delay of `tf.data` autotuning."""

from typing import Any

import keras

from keras_vq import _backend


class PromptModel(keras.Model):
    """Keras model whose `fit`, `evaluate` and `predict` end without a delay after the last step.

    `tf.data` pipelines with autotuning wait for a background thread at the end of each epoch; see
    `_backend.prompt_data`.
    """

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Trains the model. Takes the arguments of `keras.Model.fit`."""
        sample_weight = kwargs.pop("sample_weight", None)
        validation_data = kwargs.pop("validation_data", None)
        validation_split = kwargs.pop("validation_split", 0.0)
        if validation_split and validation_data is None:
            (x, y, sample_weight), validation_data = _backend.split_arrays(
                (x, y, sample_weight), validation_split
            )
        if validation_data is not None:
            rows: tuple[Any, Any, Any] = keras.utils.unpack_x_y_sample_weight(validation_data)
            validation_data = _backend.prompt_data(
                *rows,
                kwargs.get("validation_batch_size") or batch_size,
                kwargs.get("validation_steps"),
            )
        x, y, sample_weight = _backend.prompt_data(
            x,
            y,
            sample_weight,
            batch_size,
            kwargs.get("steps_per_epoch"),
            kwargs.get("shuffle", True),
            kwargs.get("class_weight"),
        )
        return super().fit(
            x,
            y,
            batch_size,
            epochs,
            sample_weight=sample_weight,
            validation_data=validation_data,
            **kwargs,
        )

    def evaluate(self, x: Any = None, y: Any = None, **kwargs: Any) -> Any:
        """Computes the loss and metrics. Takes the arguments of `keras.Model.evaluate`."""
        x, y, kwargs["sample_weight"] = _backend.prompt_data(
            x, y, kwargs.get("sample_weight"), kwargs.get("batch_size"), kwargs.get("steps")
        )
        return super().evaluate(x, y, **kwargs)

    def predict(self, x: Any, **kwargs: Any) -> Any:
        """Computes the outputs of `call`. Takes the arguments of `keras.Model.predict`."""
        x, _, _ = _backend.prompt_data(x, None, None, kwargs.get("batch_size"), kwargs.get("steps"))
        return super().predict(x, **kwargs)
