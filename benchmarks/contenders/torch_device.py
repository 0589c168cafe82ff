"""Where PyTorch's contenders compute, and when a step of theirs is done."""

import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def wait() -> None:
    """Returns when all that was begun is done."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
