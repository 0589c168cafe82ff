"""Golden arrays of papers, computed from their formulas in float64 NumPy.

Only torch is run, for resizing and gradients. Arrays are rounded to float32.
"""

import numpy as np
import torch
from goldens_common import (
    GAP,
    distances,
    is_clear,
    nearest,
    on_grid,
    prefixed,
    softmax,
    softmax_gradients,
    stack,
    unit,
)

ROWS, D, K = 64, 8, 32


def sum_by_code(rows, indices):
    return np.eye(K)[indices.reshape(-1)].T @ rows.reshape(-1, rows.shape[-1])


def check_gradients(golden, objective, **arrays):
    """Compares `<name>_gradients` with torch gradients of `objective`, with its stop-gradients."""
    tensors = {
        name: torch.tensor(np.asarray(array, "float64"), requires_grad=True)
        for name, array in arrays.items()
    }
    gradients = torch.autograd.grad(objective(*tensors.values()), list(tensors.values()))
    for name, gradient in zip(tensors, gradients, strict=True):
        expected = golden[f"{name}_gradients"]
        np.testing.assert_allclose(gradient.numpy(), expected, atol=1e-12, err_msg=name)


def mse(one, other):
    return torch.mean((one - other) ** 2)


# VQGAN --------------------------------------------------------------------------------------------


def taming(source, beta):
    """Writes VQGAN of taming-transformers, also with beta on the codebook loss as at first."""
    inputs, upstream = source.inputs(source.codes)[:ROWS], source.upstream(ROWS, D)
    codes = source.codes.astype("float64")
    indices = nearest(inputs, codes)
    error = inputs - codes[indices]
    mean = np.mean(error**2)
    golden = {"codebook": codes, "inputs": inputs, "upstream": upstream, "indices": indices}
    golden |= {"quantized": codes[indices], "commitment": mean, "codebook_loss": mean}
    for prefix, commitment, codebook in ("", beta, 1.0), ("legacy_", 1.0, beta):
        golden[f"{prefix}loss"] = commitment * mean + codebook * mean
        golden[f"{prefix}input_gradients"] = upstream + commitment * 2.0 * error / error.size
        pulled = sum_by_code(-codebook * 2.0 * error / error.size, indices)
        golden[f"{prefix}codebook_gradients"] = pulled

        def objective(x, c, commitment=commitment, codebook=codebook):
            q = c[torch.tensor(indices)]
            loss = commitment * mse(q.detach(), x) + codebook * mse(q, x.detach())
            return loss + ((x + (q - x).detach()) * torch.tensor(upstream)).sum()

        check_gradients(
            {name.removeprefix(prefix): array for name, array in golden.items()},
            objective,
            input=inputs,
            codebook=codes,
        )
    return golden


# DAC ----------------------------------------------------------------------------------------------


def dac(source, width):
    """Writes factorized codes: cosine lookup, unnormalized embeddings; 4 sequences of 16."""
    rng = source.rng
    in_kernel = on_grid(rng.normal(scale=0.3, size=(16, width)))
    out_kernel = on_grid(rng.normal(scale=0.5, size=(width, 16)))
    in_bias, out_bias = on_grid(rng.normal(scale=0.2, size=width)), on_grid(rng.normal(size=16))
    codes = on_grid(rng.normal(size=(K, width)))
    flat = source.draw(
        ROWS,
        lambda rows: on_grid(rng.normal(size=(rows, 16))),
        lambda drawn: is_clear(unit(drawn @ in_kernel + in_bias), unit(codes.astype("float64"))),
    )
    inputs, upstream = flat.reshape(4, 16, 16), source.upstream(4, 16, 16)
    projected = inputs.astype("float64") @ in_kernel + in_bias
    indices = nearest(unit(projected.reshape(ROWS, width)), unit(codes.astype("float64")))
    indices = indices.reshape(4, 16)
    chosen = codes[indices].astype("float64")
    error = projected - chosen
    losses = np.mean(error**2, axis=(1, 2))  # per sequence
    weighted = 2.0 * error / error.size  # gradient of the mean over sequences
    passed = upstream @ out_kernel.T.astype("float64")
    golden = {
        "inputs": inputs,
        "upstream": upstream,
        "in_kernel": in_kernel,
        "in_bias": in_bias,
        "out_kernel": out_kernel,
        "out_bias": out_bias,
        "codebook": codes,
        "projected": projected,
        "indices": indices,
        "codes": chosen,
        "quantized": chosen @ out_kernel + out_bias,
        "commitment": losses,
        "codebook_loss": losses,
        # Gradients of mean(codebook_loss) + 0.25 * mean(commitment) + sum(quantized * upstream).
        "loss": 1.25 * losses.mean(),
        "projected_gradients": passed + 0.25 * weighted,
        "input_gradients": (passed + 0.25 * weighted) @ in_kernel.T,
        "codebook_gradients": sum_by_code(-weighted, indices),
    }

    def objective(x, c):
        z = x @ torch.tensor(in_kernel).double() + torch.tensor(in_bias)
        q = c[torch.tensor(indices)]
        out = (z + (q - z).detach()) @ torch.tensor(out_kernel).double() + torch.tensor(out_bias)
        loss = mse(q, z.detach()) + 0.25 * mse(q.detach(), z)
        return loss + (out * torch.tensor(upstream)).sum()

    check_gradients(golden, objective, input=inputs, codebook=codes)
    return golden


# IBQ ----------------------------------------------------------------------------------------------


def ibq(source, beta):
    """Writes index backpropagation: softmax gradients reach all code vectors."""
    rng = source.rng
    codes = on_grid(rng.normal(scale=0.6, size=(K, D)))

    def clear(drawn):
        two = np.sort(drawn.astype("float64") @ codes.T)[:, -2:]
        return two[:, 1] - two[:, 0] > GAP

    inputs = source.draw(ROWS, lambda rows: on_grid(rng.normal(size=(rows, D))), clear)
    upstream = source.upstream(ROWS, D)
    x, c = inputs.astype("float64"), codes.astype("float64")
    probabilities = softmax(x @ c.T)
    indices = probabilities.argmax(axis=-1)
    error = x - c[indices]
    mean = np.mean(error**2)
    pull = 2.0 * error / error.size
    # The first loss has gradients through the soft one-hot, like the output.
    output = upstream - pull
    logits = softmax_gradients(probabilities, output @ c.T)
    golden = {
        "codebook": codes,
        "inputs": inputs,
        "upstream": upstream,
        "indices": indices,
        "quantized": c[indices],
        "soft_loss": mean,  # mean (y - x)^2, y the differentiable output
        "commitment": mean,  # mean (sg q - x)^2
        "codebook_loss": mean,  # mean (q - sg x)^2, times beta
        "loss": (2.0 + beta) * mean,
        "input_gradients": 2.0 * pull + logits @ c,
        "codebook_gradients": sum_by_code(output - beta * pull, indices) + logits.T @ x,
    }

    def objective(x, c):
        soft = (x @ c.T).softmax(-1)
        hard = torch.nn.functional.one_hot(soft.argmax(-1), K).double()
        y, q = (hard + soft - soft.detach()) @ c, hard @ c
        loss = mse(y, x) + mse(q.detach(), x) + beta * mse(q, x.detach())
        return loss + (y * torch.tensor(upstream)).sum()

    check_gradients(golden, objective, input=inputs, codebook=codes)
    return golden


# BSQ ----------------------------------------------------------------------------------------------


def bsq(source, inv_temperature, group, beta, zeta):
    """Writes binary spherical quantization: entropies of bits and of groups of bits."""
    inputs = source.draw(
        ROWS,
        lambda rows: on_grid(source.rng.normal(size=(rows, D))),
        lambda drawn: (drawn != 0.0).all(axis=-1),
    )
    u = unit(inputs.astype("float64"))
    quantized = np.where(u > 0.0, 1.0, -1.0) / np.sqrt(D)

    def entropy(probabilities):
        return -np.sum(probabilities * np.log(probabilities + 1e-8), axis=-1)

    bit = 1.0 / (1.0 + np.exp(4.0 * inv_temperature * u / np.sqrt(D)))  # probability of -1
    bit = np.stack([bit, 1.0 - bit], axis=-1)  # (N, D, 2)
    signs = 2.0 * (np.arange(2**group)[:, None] >> np.arange(group - 1, -1, -1) & 1) - 1.0
    parts = u.reshape(ROWS, D // group, group)
    # (N, groups, 2 ** group)
    grouped = softmax(2.0 * inv_temperature * parts @ signs.T / np.sqrt(D))
    bit_entropy = entropy(bit).sum(axis=-1).mean()
    group_entropy = entropy(grouped).sum(axis=-1).mean()
    np.testing.assert_allclose(bit_entropy, group_entropy, rtol=1e-5)  # bits are independent
    commitment = beta * np.mean(np.sum((u - quantized) ** 2, axis=-1))
    by_bits = entropy(bit.mean(axis=0)).sum()
    by_groups = entropy(grouped.mean(axis=0)).sum()
    return {
        "inputs": inputs,
        "unit_inputs": u,
        "quantized": quantized,
        "indices": np.sum((u > 0.0) << np.arange(D - 1, -1, -1), axis=-1),  # high bit first
        "sample_entropy": bit_entropy,
        "bits_batch_entropy": by_bits,
        "groups_batch_entropy": by_groups,
        "commitment": commitment,
        "bits_loss": commitment + zeta * (bit_entropy - by_bits) / inv_temperature,
        "groups_loss": commitment + zeta * (bit_entropy - by_groups) / inv_temperature,
    }


# VAR ----------------------------------------------------------------------------------------------


def area_matrix(size, new):
    """Computes the matrix of adaptive average pooling, (new, size)."""
    matrix = np.zeros((new, size))
    for row in range(new):
        start, stop = row * size // new, -((row + 1) * size // -new)
        matrix[row, start:stop] = 1.0 / (stop - start)
    return matrix


def bicubic_matrix(size, new, a=-0.75):
    """Computes torch's cubic resize matrix: half-pixel centers, edge padding, no antialiasing."""

    def weight(t):
        t = abs(t)
        if t <= 1.0:
            return (a + 2.0) * t**3 - (a + 3.0) * t**2 + 1.0
        return a * (t**3 - 5.0 * t**2 + 8.0 * t - 4.0) if t < 2.0 else 0.0

    matrix = np.zeros((new, size))
    for row in range(new):
        centre = (row + 0.5) * size / new - 0.5
        for tap in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
            matrix[row, min(max(tap, 0), size - 1)] += weight(centre - tap)
    return matrix


def resize(array, matrix, axes):
    """Applies a (new, size) matrix along axes 1 to `axes` of (B, ..., C)."""
    for axis in range(1, axes + 1):
        array = np.moveaxis(np.tensordot(matrix, array, axes=(1, axis)), 0, axis)
    return array


def torch_resize(array, new, mode, axes):
    """Resizes (B, L, C) or (B, H, W, C); a sequence is resized as an image of height 1."""
    image = torch.tensor(np.moveaxis(array, -1, 1))
    image = image[:, :, None] if axes == 1 else image
    size = (1, new) if axes == 1 else (new, new)
    flags = {} if mode == "area" else {"align_corners": False}
    result = torch.nn.functional.interpolate(image, size=size, mode=mode, **flags).numpy()
    return np.moveaxis(result[:, :, 0] if axes == 1 else result, 1, -1)


def var(source, axes, scales, beta):
    """Writes residuals at increasing scales, phi the identity; (2, 8, 8, C) or (8, 8, C)."""
    rng = source.rng
    channels, last = 4, scales[-1]
    codes = on_grid(rng.normal(scale=0.6, size=(K, channels)))
    shape = (2, last, last, channels) if axes == 2 else (8, last, channels)
    clear = False
    while not clear:  # unambiguous at all positions and scales
        inputs = on_grid(rng.normal(size=shape) + rng.normal(size=(shape[0],) + (1,) * axes + (1,)))
        f = inputs.astype("float64")
        total, rest = np.zeros_like(f), f
        clear, golden, terms, found = True, {}, [], []
        for scale in scales:
            down, up = area_matrix(last, scale), bicubic_matrix(scale, last)
            small = resize(rest, down, axes)
            flat = small.reshape(-1, channels)
            clear = clear and is_clear(flat, codes).all()
            indices = nearest(flat, codes).reshape(small.shape[:-1])
            h = resize(codes[indices].astype("float64"), up, axes)
            np.testing.assert_allclose(small, torch_resize(rest, scale, "area", axes), atol=1e-12)
            np.testing.assert_allclose(
                h, torch_resize(codes[indices].astype("float64"), last, "bicubic", axes), atol=1e-12
            )
            total, rest = total + h, rest - h
            terms.append(np.mean((f - total) ** 2))
            found.append((indices, up, 2.0 * (total - f) / f.size / len(scales)))
            golden |= prefixed(
                f"scale{scale}_", {"down": small, "indices": indices, "up": h, "total": total}
            )
    upstream = source.upstream(*shape)
    pulls = np.stack([pull for _, _, pull in found])
    codebook_gradients = 0.0
    for level, (indices, up, _) in enumerate(found):
        reached = pulls[level:].sum(axis=0)  # codes of a scale are part of all later sums
        codebook_gradients = codebook_gradients + sum_by_code(resize(reached, up.T, axes), indices)
    golden |= {
        "codebook": codes,
        "inputs": inputs,
        "upstream": upstream,
        "quantized": total,
        "scale_errors": np.array(terms),  # mean (f - total)^2 after each scale
        "loss": (1.0 + beta) * np.mean(terms),
        "input_gradients": upstream - beta * pulls.sum(axis=0),
        "codebook_gradients": codebook_gradients,
    }

    def objective(x, c):
        total, loss = torch.zeros_like(x), 0.0
        for indices, up, _ in found:
            h = c[torch.tensor(indices)]
            for axis in range(1, axes + 1):
                h = torch.tensordot(h, torch.tensor(up), dims=([axis], [1])).movedim(-1, axis)
            total = total + h
            loss = loss + beta * mse(total.detach(), x) + mse(total, x.detach())
        y = x + (total - x).detach()
        return loss / len(scales) + (y * torch.tensor(upstream)).sum()

    check_gradients(golden, objective, input=inputs, codebook=codes)
    return golden


def resizing(source):
    """Writes torch results for sizes that are not divisible."""
    image = on_grid(source.rng.normal(size=(1, 8, 8, 2))).astype("float64")
    golden = {"inputs": image}
    for size in (1, 3, 5):
        small = torch_resize(image, size, "area", 2)
        large = torch_resize(small, 8, "bicubic", 2)
        golden |= {f"area_8_to_{size}": small, f"bicubic_{size}_to_8": large}
        np.testing.assert_allclose(small, resize(image, area_matrix(8, size), 2), atol=1e-12)
        np.testing.assert_allclose(large, resize(small, bicubic_matrix(size, 8), 2), atol=1e-12)
    return golden


# CVQ ----------------------------------------------------------------------------------------------


def cvq(source, decay, beta):
    """Writes three steps of online clustering: rare code vectors move to their nearest row."""
    codes = source.codes.astype("float64")
    probability = np.zeros(K)
    steps = []
    for _ in range(3):
        inputs = source.inputs(codes)[:ROWS]
        while not is_clear(codes, inputs).all():  # also the nearest row of each code vector
            inputs = source.inputs(codes)[:ROWS]
        squared = distances(inputs, codes)
        indices = squared.argmin(axis=1)
        anchors = squared.argmin(axis=0)
        step = {
            "inputs": inputs,
            "indices": indices,
            "quantized": codes[indices],  # before the update, like the loss
            "loss": (1.0 + beta) * np.mean((inputs - codes[indices]) ** 2),
            "anchors": anchors,
        }
        used = np.bincount(indices, minlength=K) / ROWS
        probability = decay * probability + (1.0 - decay) * used
        moved = np.exp(-probability * K * 10.0 / (1.0 - decay) - 1e-3)[:, None]
        codes = (1.0 - moved) * codes + moved * inputs[anchors]
        steps.append(step | {"probability": probability, "moved": moved[:, 0], "codebook": codes})
    return {"initial_codebook": source.codes} | stack(steps)


# Files --------------------------------------------------------------------------------------------


def joined(parts):
    """Joins arrays of all parts as float32 and int32, with the part name as prefix."""
    kinds = {"f": "float32", "i": "int32"}
    return {
        f"{part}_{name}": np.asarray(array).astype(kinds[np.asarray(array).dtype.kind])
        for part, arrays in parts.items()
        for name, array in arrays.items()
    }


def paper_losses(source, **settings):
    """Writes single quantizers with separate settings."""
    functions = {"taming": taming, "dac": dac, "ibq": ibq, "bsq": bsq, "cvq": cvq}
    return joined({name: functions[name](source, **own) for name, own in settings.items()})


def paper_multiscale(source, **settings):
    """Writes multi-scale residual quantization (VAR) for sequences and images."""
    return joined(
        {
            "one_axis": var(source, 1, **settings),
            "two_axes": var(source, 2, **settings),
            "resize": resizing(source),
        }
    )


# name: (function, settings)
CASES = {
    "paper_losses": (
        paper_losses,
        {
            "taming": {"beta": 0.25},
            "dac": {"width": 4},
            "ibq": {"beta": 0.25},
            "bsq": {"inv_temperature": 10.0, "group": 4, "beta": 0.25, "zeta": 0.1},
            "cvq": {"decay": 0.99, "beta": 0.25},
        },
    ),
    "paper_multiscale": (paper_multiscale, {"scales": (1, 2, 4, 8), "beta": 0.25}),
}
