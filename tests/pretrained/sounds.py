"""Live models of transformers with random weights, and speech, for tests of converters."""

import functools
import importlib.util
import warnings
from pathlib import Path

import numpy as np

from tests.needed import needed

needed("auditok", "scipy", "torch", "transformers")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import scipy.io.wavfile
    import torch
    import transformers

# Two recordings of speech in auditok 0.2, at 44.1 and at 16 kHz, and the second of a word.
_FILES = {
    "was_der_mensch_saet_das_wird_er_vielfach_ernten_44100Hz_mono_lead_trail_silence.wav": 8.8,
    "1to6arabic_16000_mono_bc_noise.wav": 8.8,
}


@functools.cache
def _recording(name):
    (package,) = importlib.util.find_spec("auditok").submodule_search_locations
    rate, samples = scipy.io.wavfile.read(Path(package, "data", name))
    return rate, samples.astype("float32") / 32768


def speech(samples, channels=1, offset=0.0):
    """Returns one excerpt of each recording, of shape `(2, samples, channels)`, in [-1, 1].

    Args:
        samples: Integer. Number of samples.
        channels: Integer. The second channel is the first one, delayed and softer.
        offset: Float. Seconds by which the excerpts are moved. Defaults to 0.0.
    """
    found = []
    for name, second in _FILES.items():
        rate, sound = _recording(name)
        start = int((second + offset) * rate)
        parts = [sound[start - 7 * place :][:samples] / (1 + place) for place in range(channels)]
        found.append(np.stack(parts, axis=-1))
    return np.stack(found)


def to_torch(sounds):
    """Returns sounds, channels last, as a tensor, channels first."""
    return torch.from_numpy(np.ascontiguousarray(sounds.transpose(0, 2, 1)))


def from_torch(tensor):
    """Returns a tensor, channels first, as an array, channels last."""
    return tensor.detach().numpy().swapaxes(1, 2)


def live(name, sounds, **config):
    """Returns a model of transformers with random weights and many codes in use.

    Args:
        name: String. "Encodec" or "Dac".
        sounds: Array of sounds, from whose latents code vectors are drawn.
        **config: Configuration.
    """
    torch.manual_seed(0)
    given = getattr(transformers, f"{name}Config")(**config)
    model = getattr(transformers, f"{name}Model")(given).eval()
    place = _place_dac_codebooks if name == "Dac" else _place_encodec_codebooks
    with torch.no_grad():
        for parameter, weight in model.named_parameters():
            _randomize(parameter, weight)
        inputs = to_torch(sounds)
        if given.to_dict().get("normalize"):
            inputs = inputs / inputs.mean(1).square().mean(-1).sqrt()[:, None, None]
        place(model.quantizer, model.encoder(inputs))
        _scale_outputs(model, inputs)
    return model


def _scale_outputs(model, inputs):
    """Changes the last convolution so that outputs have a standard deviation of 0.4."""
    decoder, outputs = model.decoder, []
    last = decoder.conv2 if hasattr(decoder, "conv2") else decoder.layers[-1].conv
    hook = last.register_forward_hook(lambda *found: outputs.append(found[-1]))
    model(inputs)
    hook.remove()
    is_normed = hasattr(last, "parametrizations")
    scaled = last.parametrizations.weight.original0 if is_normed else last.weight
    scaled.mul_(0.4 / outputs[0].std())


def _randomize(name, weight):
    """Draws a weight, because initial values of zero or one would hide errors."""
    if name.endswith("alpha"):
        weight.uniform_(0.5, 2.0)
    elif "norm.weight" in name or name.endswith("original0"):
        weight.mul_(torch.empty_like(weight).uniform_(0.7, 1.3))
    elif name.endswith("bias"):
        weight.normal_(0, 0.05)
    elif name.endswith("weight"):  # DAC, whose initial kernels are too small
        weight.normal_(0, weight[0].numel() ** -0.5)


def _drawn(vectors, shape):
    """Returns code vectors near some of the vectors, of shape `(batch, dim, steps)`."""
    rows = vectors.transpose(1, 2).reshape(-1, shape[1])
    chosen = rows[torch.randint(len(rows), shape[:1])]
    return chosen + 0.3 * rows.std() * torch.randn(shape)


def _place_encodec_codebooks(quantizer, residual):
    for stage in quantizer.layers:
        codebook = stage.codebook
        codebook.embed.copy_(_drawn(residual, codebook.embed.shape))
        codebook.cluster_size.uniform_(1, 5)
        codebook.embed_avg.copy_(codebook.embed * codebook.cluster_size[:, None])
        residual = residual - stage.decode(stage.encode(residual))


def _place_dac_codebooks(quantizer, residual):
    for stage in quantizer.quantizers:
        weight = stage.codebook.weight
        weight.copy_(_drawn(stage.in_proj(residual), weight.shape))
        residual = residual - stage(residual)[0]
