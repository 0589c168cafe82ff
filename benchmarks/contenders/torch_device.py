"""Device and synchronization of the PyTorch contenders."""

import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def wait() -> None:
    """Waits for all queued operations of the device."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
