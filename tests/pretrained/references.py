"""Live models of diffusers with random weights, and photographs, for tests of converters."""

import warnings

import numpy as np

from tests.needed import needed

needed("diffusers", "skimage", "torch")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import diffusers
    import skimage.data
    import skimage.transform
    import torch


def photographs(height=32, width=32):
    """Returns crops of three photographs of scikit-image, reduced to half their size."""
    crops = []
    for name, row, column in (("astronaut", 40, 180), ("chelsea", 60, 100), ("coffee", 80, 200)):
        image = getattr(skimage.data, name)()[row : row + 2 * height, column : column + 2 * width]
        crops.append(skimage.transform.resize(image, (height, width), anti_aliasing=True))
    return np.stack(crops).astype("float32")


def randomized(model):
    """Returns a model of PyTorch with weights that are neither zero nor one.

    The initial values of normalization layers and biases would hide errors in their names.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
    return model.eval()


def live(name, **config):
    """Returns a model of diffusers with random weights, many codes in use and few clipped pixels.

    Args:
        name: String. Name of the class.
        **config: Configuration.
    """
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = randomized(getattr(diffusers, name)(**config))
    with torch.no_grad():
        images = to_torch(photographs())[:, : model.config.in_channels]
        if name == "VQModel":
            spread(model.quant_conv, model.encode(images).latents, deviation=1.0)
            model.quantize.embedding.weight.normal_()
        outputs = model(images).sample
    if name == "AutoencoderTiny":
        spread(model.decoder.layers[-1], (outputs + 1) / 2, mean=0.5, deviation=0.2)
    else:
        spread(model.decoder.conv_out, outputs)
    return model


def to_torch(images):
    """Returns images in [0, 1], channels last, as a tensor in [-1, 1], channels first."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))) * 2 - 1


def from_torch(tensor):
    """Returns a tensor, channels first, as an array, channels last."""
    return tensor.detach().numpy().transpose(0, 2, 3, 1)


def pixels(tensor):
    """Returns outputs in [-1, 1] as clipped images, as the image processor of diffusers does."""
    return np.clip(from_torch(tensor) / 2 + 0.5, 0, 1)


def latents_of(model, images):
    """Returns latents of a model of diffusers, or means of latents, as a tensor."""
    with torch.no_grad():
        encoded = model.encode(to_torch(images))
    return encoded.latent_dist.mean if hasattr(encoded, "latent_dist") else encoded.latents


def codes_of(model, latents):
    """Returns the codes of a `VQModel` of diffusers for latents, as an array of grids."""
    with torch.no_grad():
        codes = model.quantize(latents)[2][2]
    return codes.reshape(latents.shape[0], *latents.shape[2:]).numpy()


def spread(convolution, outputs, mean=0.0, deviation=0.4):
    """Changes a convolution so that its outputs have a given mean and standard deviation.

    Args:
        convolution: Convolution of PyTorch.
        outputs: Tensor of its outputs before the change, channels first.
        mean: Float. New mean. Defaults to 0.0.
        deviation: Float. New standard deviation. Defaults to 0.4.
    """
    scale = deviation / outputs.std((0, 2, 3))
    with torch.no_grad():
        convolution.weight.mul_(scale[:, None, None, None])
        convolution.bias.copy_((convolution.bias - outputs.mean((0, 2, 3))) * scale + mean)
