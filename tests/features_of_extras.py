"""One feature of each extra, as a script that needs no other package than keras_vq and the extra.

Run: python tests/features_of_extras.py EXTRA [EXTRA ...], in an environment with these extras. The
result is a JSON object with "" or the message of an ImportError for each, and the exit code is 1 if
there is a message.
"""

import contextlib
import io
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def features(folder: Path) -> dict[str, Callable[[], Any]]:
    """Returns the features, after the first steps of every user, which need no extra."""
    import keras_vq
    from keras_vq_cli.main import main

    images = np.random.default_rng(0).random((32, 8, 8, 1), "float32")
    encoder, decoder = keras_vq.networks.convolutional((8, 8, 1), latent_dim=4)
    model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(16), decoder)
    model.compile("adam")
    model.adapt(images)
    model.fit(images, epochs=1, verbose=0)
    pairs = images[:5], model.decode(model.encode(images[:5]))
    keras_vq.plots.plot_reconstructions(*pairs, filepath=folder / "pictures.png")

    def compress() -> None:
        prior = keras_vq.priors.PixelCNNPrior.for_model(model, hidden_dim=8)
        keras_vq.codec.ImageCodec(model, prior).compress(list(images[:1]))

    def serve() -> None:
        from keras_vq_cli.commands import serve

        serve._check_packages()

    def download() -> None:
        with contextlib.suppress(ValueError, OSError):  # no such repository, or no connection
            keras_vq.from_pretrained("hf://no_such_owner/no_such_name")

    return {
        "cli": lambda: main(["--help"]),
        "codec": compress,
        "hub": download,
        "litert": lambda: model.export(folder / "m.tflite", format="litert"),
        "onnx": lambda: model.export(folder / "onnx", format="onnx"),
        "onnx-jax": lambda: model.export(folder / "onnx", format="onnx"),
        "openvino": lambda: model.export(folder / "openvino", format="openvino"),
        "saved-model": lambda: model.export(folder / "saved"),
        "serve": serve,
        "sklearn": lambda: keras_vq.priors.GaussianMixturePrior(2).fit(images.reshape(-1, 64)),
        "tensorboard": lambda: keras_vq.callbacks.ReconstructionGrid(images[:2], log_dir=folder),
    }


def main() -> None:
    """Runs the features of the extras in the arguments."""
    messages = {}
    with tempfile.TemporaryDirectory() as folder:
        known = features(Path(folder))
        for extra in sys.argv[1:]:
            written = io.StringIO()
            with contextlib.redirect_stderr(written), contextlib.redirect_stdout(io.StringIO()):
                try:
                    known[extra]()
                except ImportError as error:
                    written.write(str(error))
            lines = [line for line in written.getvalue().splitlines() if "pip install" in line]
            messages[extra] = "".join(lines)
    print(json.dumps(messages))
    sys.exit(any(messages.values()))


if __name__ == "__main__":
    main()
