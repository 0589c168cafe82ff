"""Script of test_devices.py that trains quantizers on one or two devices and saves the weights.

    python training.py DEVICES FILE [RANK PORT]

KERAS_BACKEND selects the backend. RANK and PORT are for the processes of PyTorch.
"""

import contextlib
import os
import sys
from pathlib import Path

DEVICES, FILE = int(sys.argv[1]), Path(sys.argv[2])
RANK = int(sys.argv[3]) if len(sys.argv) > 3 else 0
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={DEVICES}"
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import keras  # noqa: E402 - after the environment is set
import numpy as np  # noqa: E402
from keras import ops  # noqa: E402

from tests.quantizers.cases import QUANTIZER_CASES  # noqa: E402

# All kinds of codebook updates; restarts draw vectors from the global batch.
CASES = (
    "ema",
    "ema_bias_correction",
    "default_with_restart",
    "ema_online_clustering",
    "gradient_with_restart",
    "step",
    "residual_shared",
    "grouped_residual",
    "multi_scale",
)
STEPS, BATCH = 6, 32


def built_model(case):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5, 5, 4))
    quantized, _ = case.build()(keras.layers.Dense(4)(inputs))
    return keras.Model(inputs, keras.layers.Dense(4)(quantized))


def batches():
    return np.random.default_rng(1).normal(size=(STEPS * BATCH, 5, 5, 4)).astype("float32")


def fit(case):
    model = built_model(case)
    model.compile(keras.optimizers.SGD(0.1), loss="mse")
    data = batches()
    model.fit(data, data, batch_size=BATCH, epochs=1, shuffle=False, verbose=0)
    return model


def run_torch_loop(case):
    """Trains with DistributedDataParallel, because `fit` has no distribution on PyTorch."""
    import torch
    from torch.nn.parallel import DistributedDataParallel

    class WithLoss(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, x):
            error = ops.mean(ops.square(self.model(x, training=True) - x))
            return error + sum(self.model.losses, start=0.0)

    model = built_model(case)
    # The wrapped module returns the loss, because only its gradients are averaged.
    wrapped = WithLoss(model)
    wrapped = DistributedDataParallel(wrapped) if DEVICES > 1 else wrapped
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    share = BATCH // DEVICES
    for start in range(RANK * share, STEPS * BATCH, BATCH):
        x = ops.convert_to_tensor(batches()[start : start + share])
        loss = wrapped(x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def distributed():
    """Returns a context manager in which models are distributed over the devices."""
    backend = keras.backend.backend()
    if DEVICES == 1:
        return contextlib.nullcontext()
    if backend == "tensorflow":
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        one = tf.config.LogicalDeviceConfiguration()
        tf.config.set_logical_device_configuration(cpu, [one] * DEVICES)
        return tf.distribute.MirroredStrategy([f"CPU:{n}" for n in range(DEVICES)]).scope()
    if backend == "jax":
        devices = keras.distribution.list_devices("cpu")
        assert len(devices) == DEVICES
        return keras.distribution.DataParallel(devices=devices).scope()
    import torch.distributed as dist

    address = f"tcp://127.0.0.1:{sys.argv[4]}"
    dist.init_process_group("gloo", address, rank=RANK, world_size=DEVICES)
    return contextlib.nullcontext()


def main():
    train = run_torch_loop if keras.backend.backend() == "torch" else fit
    found = {}
    with distributed():
        for case in QUANTIZER_CASES:
            if case.id in CASES:
                for place, weight in enumerate(train(case).weights):
                    found[f"{case.id}/{place}_{weight.name}"] = ops.convert_to_numpy(weight)
    np.savez(FILE, **found)


main()
