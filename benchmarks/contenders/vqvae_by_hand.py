"""VQ-VAE in plain PyTorch with vector-quantize-pytorch and the networks of `whole_step`."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from vector_quantize_pytorch import VectorQuantize

from benchmarks.contenders.torch_device import DEVICE, wait


def make(network: str, batch: int, compiled: bool = False) -> Callable[[], object]:
    """Builds a training step on random pixels, eager or with torch.compile."""
    model = (mnist() if network == "mnist" else cifar10()).to(DEVICE).train()
    called = torch.compile(model) if compiled else model
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    pixels = np.random.default_rng(0).random((batch, *model.image_shape)).astype("float32")

    def step() -> None:
        # Copies the batch from the host and the loss back, like `train_on_batch`.
        images = torch.from_numpy(pixels).to(DEVICE)
        optimizer.zero_grad()
        reconstructions, loss = called(images)
        loss = loss.sum() + nn.functional.mse_loss(reconstructions, images)
        loss.backward()
        optimizer.step()
        loss.item()
        wait()

    return step


class Vqvae(nn.Module):
    """VQ-VAE that returns reconstructions and the loss of the quantizer."""

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        encoder: nn.Module,
        dim: int,
        codes: int,
        decoder: nn.Module,
    ) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.encoder, self.decoder = encoder, decoder
        self.quantizer = VectorQuantize(dim, codes, decay=0.99, accept_image_fmap=True)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns reconstructions and the loss."""
        quantized, _, loss = self.quantizer(self.encoder(images))
        return self.decoder(quantized), loss


class ResidualBlocks(nn.Module):
    """Two residual blocks x + conv1x1(relu(conv3x3(relu(x)))) and a final ReLU."""

    def __init__(self, channels: int, hidden: int = 32) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(),
                nn.Conv2d(channels, hidden, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(hidden, channels, 1),
            )
            for _ in range(2)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Applies the blocks."""
        for block in self.blocks:
            x = x + block(x)
        return nn.functional.relu(x)


def mnist() -> Vqvae:
    """Builds the network of the keras.io example."""
    up = {"stride": 2, "padding": 1, "output_padding": 1}
    return Vqvae(
        (1, 28, 28),
        nn.Sequential(
            nn.Conv2d(1, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 16, 1),
        ),
        16,
        128,
        nn.Sequential(
            nn.ConvTranspose2d(16, 64, 3, **up),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 32, 3, **up),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 1, 3, padding=1),
        ),
    )


def cifar10() -> Vqvae:
    """Builds the network of the Sonnet notebook."""
    strided = {"kernel_size": 4, "stride": 2, "padding": 1}
    return Vqvae(
        (3, 32, 32),
        nn.Sequential(
            nn.Conv2d(3, 64, **strided),
            nn.ReLU(),
            nn.Conv2d(64, 128, **strided),
            nn.ReLU(),
            nn.Conv2d(128, 128, 3, padding=1),
            ResidualBlocks(128),
            nn.Conv2d(128, 64, 1),
        ),
        64,
        512,
        nn.Sequential(
            nn.Conv2d(64, 128, 3, padding=1),
            ResidualBlocks(128),
            nn.ConvTranspose2d(128, 64, **strided),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 3, **strided),
        ),
    )
