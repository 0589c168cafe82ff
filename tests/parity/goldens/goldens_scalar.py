"""Golden arrays of the scalar quantizers of VQP: finite scalar, lookup-free, latent."""

import numpy as np
import torch
from goldens_common import (
    TOLERANCE,
    check,
    check_all,
    entropy,
    entropy_gradients,
    on_grid,
    prefixed,
    softmax,
    softmax_gradients,
    unit,
    unit_gradients,
)
from vector_quantize_pytorch import FSQ, LFQ, LatentQuantize

ROWS = 64
EDGE = 1e-4  # minimum distance to the midpoint of two levels


def indices_of(tensor):
    return tensor.detach().numpy().astype("int32")


# Finite scalar ------------------------------------------------------------------------------------


def bounded(inputs, levels, form):
    """Computes the bounded value before rounding, in units of levels, and its gradient."""
    levels = np.asarray(levels, "float64")
    z = inputs.astype("float64")
    if form == "symmetric":  # rounds half up to 0 ... L - 1
        return (levels - 1.0) * (np.tanh(z) + 1.0) / 2.0, (levels - 1.0) / 2.0 / np.cosh(z) ** 2
    half = (levels - 1.0) * (1.0 - 1e-3 if form == "official" else 1.0 + 1e-3) / 2.0
    offset = np.where(levels % 2, 0.0, 0.5)
    # 0.5 / half is above 1 for two levels, for which only the official form is defined.
    shift = np.tan(offset / half) if form == "official" else np.arctanh(offset / half)
    return np.tanh(z + shift) * half - offset, half / np.cosh(z + shift) ** 2


def finite_scalar(inputs, levels, form):
    """Computes quantized values, indices and the gradient of the quantized values."""
    levels = np.asarray(levels)
    values, slopes = bounded(inputs, levels, form)
    if form == "symmetric":
        number = np.floor(values + 0.5)
        codes, slopes = 2.0 * number / (levels - 1) - 1.0, 2.0 * slopes / (levels - 1)
    else:
        number = np.round(values) + levels // 2
        codes, slopes = np.round(values) / (levels // 2), slopes / (levels // 2)
    basis = np.cumprod([1, *levels[:-1]])
    return codes, np.sum(number * basis, axis=-1), slopes


def vqp_fsq(source, level_lists, decoded_up_to):
    """Writes both forms of VQP and the formula of the official notebook."""
    golden = {}
    for levels in level_lists:
        name = "x".join(map(str, levels)) + "_"
        # The default form of VQP rejects two levels, for which atanh is undefined.
        forms = ("symmetric",) if 2 in levels else ("default", "symmetric")

        def clear(drawn, levels=levels, forms=forms):
            off = [bounded(drawn, levels, form)[0] - 0.5 for form in [*forms, "official"]]
            return np.min([np.abs(v - np.round(v)) for v in off], axis=(0, 2)) > EDGE

        def draw(rows, levels=levels):
            return on_grid(source.rng.normal(scale=1.2, size=(rows, len(levels))))

        def differs(drawn, levels=levels, clear=clear):
            one, other = (finite_scalar(drawn, levels, form)[1] for form in ("default", "official"))
            return clear(drawn) & (one != other)

        inputs = source.draw(2 * ROWS, draw, clear)
        if "default" in forms:  # rows that the two conventions round differently
            inputs[:8] = source.draw(8, draw, differs)
        upstream = source.upstream(*inputs.shape)
        golden |= prefixed(name, {"inputs": inputs, "upstream": upstream})
        for form in forms:
            layer = FSQ(levels, preserve_symmetry=form == "symmetric").train()
            batch = torch.tensor(inputs[None], requires_grad=True)
            codes, indices = layer(batch)
            objective = (codes * torch.tensor(upstream)).sum()
            (gradients,) = torch.autograd.grad(objective, [batch])
            found = {
                "codes": codes[0].detach().numpy(),
                "indices": indices_of(indices[0]),
                "input_gradients": gradients[0].numpy(),
            }
            codes, indices, slopes = finite_scalar(inputs, levels, form)
            expected = {"codes": codes, "indices": indices, "input_gradients": upstream * slopes}
            check_all(found, expected)
            golden |= prefixed(f"{name}{form}_", found)
            if np.prod(levels) <= decoded_up_to:
                every = torch.arange(int(np.prod(levels)))
                decoded = layer.indices_to_codes(every[None])[0].numpy()
                golden[f"{name}{form}_decoded"] = decoded
                number = every.numpy()[:, None] // np.cumprod([1, *levels[:-1]]) % levels
                half = np.asarray(levels) // 2
                expected = (number - half) / half
                if form == "symmetric":
                    expected = 2.0 * number / (np.asarray(levels) - 1) - 1.0
                check(golden, f"{name}{form}_decoded", expected)
        codes, indices, slopes = finite_scalar(inputs, levels, "official")
        found = {
            "codes": codes.astype("float32"),
            "indices": indices.astype("int32"),
            "input_gradients": (upstream * slopes).astype("float32"),
        }
        golden |= prefixed(f"{name}official_", found)
    return golden


# Lookup-free --------------------------------------------------------------------------------------


def vqp_lfq(source, bits, inv_temperatures, **settings):
    """Writes lookup-free quantization with the entropy loss, plain and spherical."""
    rng = source.rng

    # Small inputs, because otherwise the entropy of each row is 0.
    def draw(rows):
        scales = 0.05 * 4.0 ** rng.random((rows, 1))
        return on_grid(rng.normal(scale=scales, size=(rows, bits)))

    inputs = source.draw(ROWS, draw, lambda drawn: (drawn != 0.0).all(axis=-1))
    upstream = source.upstream(ROWS, bits)
    golden = {"inputs": inputs, "upstream": upstream}
    every = np.arange(2**bits)
    signs = 2.0 * (every[:, None] >> np.arange(bits - 1, -1, -1) & 1) - 1.0  # high bit first
    for spherical in (False, True):
        layer = LFQ(codebook_size=2**bits, dim=bits, spherical=spherical, **settings).train()
        kind = "spherical" if spherical else "plain"
        golden[f"{kind}_decoded"] = layer.indices_to_codes(torch.arange(2**bits)).numpy()
        codes = unit(signs) if spherical else signs
        check(golden, f"{kind}_decoded", codes)
        x = unit(inputs.astype("float64")) if spherical else inputs.astype("float64")
        for inv_temperature in inv_temperatures:
            batch = torch.tensor(inputs[None], requires_grad=True)
            (quantized, indices, loss), parts = layer(
                batch, inv_temperature=inv_temperature, return_loss_breakdown=True
            )
            objective = loss + (quantized * torch.tensor(upstream)).sum()
            (gradients,) = torch.autograd.grad(objective, [batch])
            found = {
                "indices": indices_of(indices[0]),
                "quantized": quantized[0].detach().numpy(),
                "sample_entropy": parts.per_sample_entropy.detach().numpy(),
                "batch_entropy": parts.batch_entropy.detach().numpy(),
                "commitment": parts.commitment.detach().numpy(),
                "loss": loss.detach().numpy(),
                "input_gradients": gradients[0].numpy(),
            }
            chosen = np.sum((inputs > 0) << np.arange(bits - 1, -1, -1), axis=-1)
            probabilities = softmax(2.0 * inv_temperature * x @ codes.T)  # (N, 2 ** bits)
            mean = probabilities.mean(axis=0)
            sample = entropy(probabilities, 1e-5).mean()
            batch_entropy = entropy(mean, 1e-5)
            commitment = np.mean((x - codes[chosen]) ** 2)
            weight, gamma = settings["entropy_loss_weight"], settings["diversity_gamma"]
            gradients = entropy_gradients(probabilities, 1e-5)
            gradients = gradients - gamma * entropy_gradients(mean, 1e-5)
            gradients = softmax_gradients(probabilities, weight / ROWS * gradients)
            gradients = 2.0 * inv_temperature * gradients @ codes
            gradients += settings["commitment_loss_weight"] * 2.0 * (x - codes[chosen]) / x.size
            gradients += upstream
            expected = {
                "indices": chosen,
                "quantized": codes[chosen],
                "sample_entropy": sample,
                "batch_entropy": batch_entropy,
                "commitment": commitment,
                "loss": weight * (sample - gamma * batch_entropy)
                + settings["commitment_loss_weight"] * commitment,
                "input_gradients": unit_gradients(inputs.astype("float64"), gradients)
                if spherical
                else gradients,
            }
            gradients = expected.pop("input_gradients")
            check_all(found, expected, relative=1e-5)
            # The floor of the logarithm is a discontinuity of the gradients, and the temperature
            # amplifies errors, so the tolerance is 1e-5 of the maximum.
            worst = np.abs(found["input_gradients"] - gradients).max()
            assert worst < TOLERANCE * np.abs(gradients).max(), worst
            # Without the floor of VQP, because entropies of bits differ slightly with it.
            exact = {
                "exact_sample_entropy": entropy(probabilities, 1e-300).mean(),
                "exact_batch_entropy": entropy(mean, 1e-300),
            }
            bit = 1.0 / (1.0 + np.exp(-4.0 * inv_temperature * x * codes.max()))
            bit = np.stack([bit, 1.0 - bit], axis=-1)
            by_bits = entropy(bit, 1e-300).sum(axis=-1).mean()
            np.testing.assert_allclose(exact["exact_sample_entropy"], by_bits, rtol=1e-6)
            golden |= prefixed(f"{kind}{inv_temperature:g}_", found)
            golden |= prefixed(
                f"{kind}{inv_temperature:g}_",
                {name: np.float32(value) for name, value in exact.items()},
            )
    return golden


# Latent -------------------------------------------------------------------------------------------


def vqp_latent(source, levels, weights):
    """Writes latent quantization; `weights` are pairs (commitment, quantization)."""
    dim = len(levels)
    layer = LatentQuantize(levels=list(levels), dim=dim)
    values = [value.detach().numpy().copy() for value in layer.values_per_latent]

    def apart(drawn):
        return [np.abs(drawn[:, d, None].astype("float64") - values[d]) for d in range(dim)]

    def clear(drawn):
        two = np.stack([np.sort(one)[:, :2] for one in apart(drawn)])
        return (two[..., 1] - two[..., 0]).min(axis=0) > 1e-3

    inputs = source.draw(
        2 * ROWS, lambda rows: on_grid(source.rng.normal(scale=0.35, size=(rows, dim))), clear
    )
    upstream = source.upstream(*inputs.shape)
    golden = {f"values{d}": one for d, one in enumerate(values)}
    golden |= {"inputs": inputs, "upstream": upstream}
    chosen = np.stack([one.argmin(axis=-1) for one in apart(inputs)], axis=-1)
    quantized = np.stack([values[d][chosen[:, d]] for d in range(dim)], axis=-1).astype("float64")
    error = inputs - quantized

    for name, (commitment_weight, quantization_weight) in weights.items():
        layer = LatentQuantize(
            levels=list(levels),
            dim=dim,
            commitment_loss_weight=commitment_weight,
            quantization_loss_weight=quantization_weight,
        ).train()
        batch = torch.tensor(inputs.T[None], requires_grad=True)  # channels first
        codes, indices, loss = layer(batch)
        objective = loss + (codes * torch.tensor(upstream.T)).sum()
        gradients = torch.autograd.grad(
            objective, [batch, *layer.values_per_latent], allow_unused=True
        )
        assert all(gradient is None for gradient in gradients[1:])
        # Both losses with their VQP names, on the output of VQP, and their gradients.
        found = {
            "commitment_loss": layer.commitment_loss(batch, codes),
            "quantization_loss": layer.quantization_loss(batch, codes),
        }
        parts = {
            f"{part}_input_gradients": torch.autograd.grad(value, [batch], retain_graph=True)[0]
            for part, value in found.items()
        }
        found = {part: value.detach().numpy() for part, value in found.items()}
        found |= {part: value[0].numpy().T for part, value in parts.items()}
        found |= {
            "quantized": codes[0].detach().numpy().T,
            "indices": indices_of(indices[0]),
            "loss": loss.detach().numpy(),
            "input_gradients": gradients[0][0].numpy().T,
        }
        pull = 2.0 * error / error.size
        expected = {
            "commitment_loss": np.mean(error**2),
            "quantization_loss": np.mean(error**2),
            "commitment_loss_input_gradients": -pull,  # through the straight-through output
            "quantization_loss_input_gradients": pull,
            "quantized": quantized,
            "loss": (commitment_weight + quantization_weight) * np.mean(error**2),
            "input_gradients": upstream + (quantization_weight - commitment_weight) * pull,
        }
        check_all(found, expected)
        golden |= prefixed(f"{name}_", found)
    for name in weights:  # equal for all weights
        for part in ("commitment_loss", "quantization_loss", "quantized", "indices"):
            golden[part] = golden.pop(f"{name}_{part}")
        for part in ("commitment_loss", "quantization_loss"):
            golden[f"{part}_input_gradients"] = golden.pop(f"{name}_{part}_input_gradients")

    basis = np.cumprod([1, *levels[:-1]])
    right = np.sum(chosen * basis, axis=-1)
    golden["level_indices"] = chosen.astype("int32")
    check(golden, "indices", right)

    # Losses of the paper, means over all entries with weight 1: one moves only the values, the
    # other only the inputs.
    golden["paper_loss"] = np.float32(2.0 * np.mean(error**2))
    golden["paper_input_gradients"] = (upstream + pull).astype("float32")
    for d in range(dim):
        one_hot = np.eye(levels[d])[chosen[:, d]]
        golden[f"paper_values{d}_gradients"] = (-one_hot.T @ pull[:, d]).astype("float32")
    return golden


# name: (function, settings)
CASES = {
    "vqp_fsq": (
        vqp_fsq,
        {
            "level_lists": ((8, 5, 5, 5), (8, 6, 5), (4,), (2, 2, 2), (7, 5, 5, 5, 5)),
            "decoded_up_to": 1000,
        },
    ),
    "vqp_lfq": (
        vqp_lfq,
        {
            "bits": 8,
            "inv_temperatures": (10.0, 100.0),
            "entropy_loss_weight": 0.1,
            "commitment_loss_weight": 0.25,
            "diversity_gamma": 1.0,
        },
    ),
    "vqp_latent": (
        vqp_latent,
        {"levels": (5, 5, 8), "weights": {"equal": (0.1, 0.1), "unequal": (0.1, 0.3)}},
    ),
}
