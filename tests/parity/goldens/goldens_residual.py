"""Golden arrays of the residual quantizers of VQP."""

import numpy as np
import torch
from goldens_common import GAP, check, check_all, distances, on_grid, prefixed, stack
from vector_quantize_pytorch import GroupedResidualVQ, ResidualVQ

ROWS, D, K = 64, 8, 16
LEVELS = 4
STEPS = 3
EPSILON = 1e-5  # default of VQP


def indices_of(tensor):
    return tensor.detach().numpy().astype("int32")


def draw_codebooks(source, levels, dim=D, shrink=0.6):
    scales = shrink ** np.arange(levels)[:, None, None]
    return on_grid(source.rng.normal(size=(levels, K, dim)) * scales)


def replay(inputs, codebooks):
    """Runs greedy search in codebooks (L, K, D).

    Returns:
        Indices (N, L), code vectors and residuals (L, N, D), and gaps (N,).
    """
    residual = inputs.astype("float64")
    indices, codes, residuals, gaps = [], [], [], []
    for codebook in codebooks:
        squared = distances(residual, codebook)
        two = np.sort(squared)[:, :2]
        indices.append(squared.argmin(axis=1))
        gaps.append(two[:, 1] - two[:, 0])
        residuals.append(residual)
        codes.append(codebook[indices[-1]].astype("float64"))
        residual = residual - codes[-1]
    return np.stack(indices, -1), np.stack(codes), np.stack(residuals), np.min(gaps, axis=0)


def draw_inputs(source, codebooks, dim=D):
    return source.draw(
        ROWS,
        lambda rows: on_grid(source.rng.normal(scale=1.1, size=(rows, dim))),
        lambda drawn: replay(drawn, codebooks)[-1] > GAP,
    )


# Plain --------------------------------------------------------------------------------------------


def build(codebooks, shared=False, **settings):
    layer = ResidualVQ(
        dim=D, num_quantizers=LEVELS, codebook_size=K, shared_codebook=shared, **settings
    )
    with torch.no_grad():
        for level, codes in zip(layer.layers, codebooks, strict=True):
            level._codebook.embed.copy_(torch.tensor(codes)[None])
            level._codebook.embed_avg.copy_(torch.tensor(codes)[None])
    return layer.train()


def state(layer):
    books = [level._codebook for level in layer.layers]
    return {
        "codebooks": np.stack([book.embed[0].numpy() for book in books]),
        "cluster_sizes": np.stack([book.cluster_size[0].numpy() for book in books]),
        "embed_avgs": np.stack([book.embed_avg[0].numpy() for book in books]),
    }


def run(layer, inputs, upstream=None, **arguments):
    batch = torch.tensor(inputs[None], requires_grad=upstream is not None)
    quantized, indices, losses, codes = layer(batch, return_all_codes=True, **arguments)
    result = {
        "indices": indices_of(indices[0]),
        "quantized": quantized[0].detach().numpy(),
        "losses": losses.detach().numpy(),
        "all_codes": codes[:, 0].detach().numpy(),
    }
    if upstream is not None:
        objective = losses.sum() + (quantized * torch.tensor(upstream)).sum()
        (gradients,) = torch.autograd.grad(objective, [batch])
        result["input_gradients"] = gradients[0].numpy()
    return result


def average(counts, sums, inputs, indices, decay):
    one_hot = np.eye(K)[indices]
    counts = decay * counts + (1.0 - decay) * one_hot.sum(axis=0)
    return counts, decay * sums + (1.0 - decay) * (one_hot.T @ inputs)


def smoothed(counts, sums):
    total = counts.sum()
    return sums / ((counts + EPSILON) / (total + K * EPSILON) * total)[:, None]


def train(source, layer, codebooks, decay, shared):
    """Runs three training steps and compares them with NumPy."""
    upstream = source.upstream(ROWS, D)
    steps, replayed = [], []
    counts, sums = np.ones((LEVELS, K)), codebooks.astype("float64")
    books = sums.copy()
    for _ in range(STEPS):
        inputs = draw_inputs(source, books)
        steps.append({"inputs": inputs} | run(layer, inputs, upstream) | state(layer))
        indices, codes, residuals, _ = replay(inputs, books)
        error = residuals - codes
        for level in range(LEVELS):
            new = average(counts[level], sums[level], residuals[level], indices[:, level], decay)
            target = slice(None) if shared else level  # stage after stage into the shared EMA
            counts[target], sums[target] = new
        books = np.stack([smoothed(*pair) for pair in zip(counts, sums, strict=True)])
        replayed.append(
            {
                "indices": indices,
                "quantized": codes.sum(axis=0),
                "losses": np.mean(error**2, axis=(1, 2)),
                "all_codes": books[np.arange(LEVELS)[:, None], indices.T],  # after the update
                "input_gradients": LEVELS * upstream + 2.0 / inputs.size * error.sum(axis=0),
                "codebooks": books,
                "cluster_sizes": counts.copy(),
                "embed_avgs": sums.copy(),
            }
        )
    golden = {"initial_codebooks": codebooks, "upstream": upstream} | stack(steps)
    check_all(golden, stack(replayed))
    golden["all_codes"] = golden["all_codes"][-1]  # only the last step
    del golden["embed_avgs"]  # equal to codebooks times smoothed cluster sizes
    return golden


def evaluate(layer, inputs, books):
    with torch.no_grad():
        golden = {"inputs": inputs} | run(layer.eval(), inputs)
    indices, codes, _, _ = replay(inputs, books)
    check_all(
        golden,
        {"indices": indices, "quantized": codes.sum(axis=0), "losses": 0.0, "all_codes": codes},
    )
    return golden


def beam(inputs, codebooks, width, summed):
    """Runs beam search by MSE, summed over stages (VQP) or of the last stage."""
    residual = inputs[:, None].astype("float64")  # (N, B, D)
    score = np.zeros(residual.shape[:2])  # (N, B)
    indices = np.zeros((*residual.shape[:2], 0), int)
    gaps = []
    for level, codebook in enumerate(codebooks):
        left = residual[:, :, None] - codebook  # (N, B, K, D)
        error = np.mean(left**2, axis=-1)
        score = (score[..., None] + error if summed else error).reshape(len(inputs), -1)
        keep = 1 if level == len(codebooks) - 1 else width
        order = np.argsort(score, axis=-1)
        edge = np.take_along_axis(score, order[:, keep - 1 : keep + 1], axis=-1)
        gaps.append((edge[:, 1] - edge[:, 0]) * inputs.shape[-1])
        order = order[:, :keep]
        score = np.take_along_axis(score, order, axis=-1)
        parents, chosen = order // K, order % K
        rows = np.arange(len(inputs))[:, None]
        residual = left[rows, parents, chosen]
        indices = np.concatenate([indices[rows, parents], chosen[..., None]], axis=-1)
    return indices[:, 0], np.sum(residual[:, 0] ** 2, axis=-1), np.min(gaps, axis=0)


def vqp_residual(source, eval_beam_size, **settings):
    """Writes EMA codebooks per stage, a shared codebook, and beam search."""
    golden = {}
    decay = settings["decay"]
    for prefix, shared in ("", False), ("shared_", True):
        codebooks = draw_codebooks(source, LEVELS)
        if shared:
            codebooks = np.stack([codebooks[0] * 0.75] * LEVELS)
        layer = build(codebooks, shared, **settings)
        found = train(source, layer, codebooks, decay, shared)
        books = found["codebooks"][-1]
        # Exclude rows at which searches are ambiguous.
        inputs = source.draw(
            ROWS,
            lambda rows: on_grid(source.rng.normal(scale=1.1, size=(rows, D))),
            lambda drawn, books=books: (
                np.min(
                    [replay(drawn, books)[-1]]
                    + [beam(drawn, books, eval_beam_size, summed)[-1] for summed in (True, False)],
                    axis=0,
                )
                > GAP
            ),
        )
        golden |= prefixed(prefix, found)
        golden |= prefixed(prefix + "eval_", evaluate(layer, inputs, books))
        if shared:
            for name in ("all_codes", "eval_all_codes", "input_gradients"):  # a smaller file
                del golden[prefix + name]
            for name in ("initial_codebooks", "codebooks", "cluster_sizes"):
                books = golden.pop(prefix + name)
                book = np.take(books, 0, axis=0 if name.startswith("initial") else 1)
                golden[prefix + name.removesuffix("s")] = book
            continue

        with torch.no_grad():
            found = run(layer.eval(), inputs, beam_size=eval_beam_size)
        del found["all_codes"]
        best, errors, _ = beam(inputs, books, eval_beam_size, summed=True)
        codes = books[np.arange(LEVELS)[:, None], best.T].astype("float64")
        left = inputs - np.cumsum(codes, axis=0)
        check_all(
            found,
            {
                "indices": best,
                "quantized": codes.sum(axis=0),
                "losses": np.mean(left**2, axis=(1, 2)),
            },
        )
        golden |= prefixed("beam_", found)
        golden["beam_errors"] = errors.astype("float32")
        golden["greedy_errors"] = np.sum(
            (inputs - golden["eval_quantized"].astype("float64")) ** 2, axis=-1
        ).astype("float32")
        best, errors, _ = beam(inputs, books, eval_beam_size, summed=False)
        golden["last_error_beam_indices"] = best.astype("int32")
        golden["last_error_beam_errors"] = errors.astype("float32")
    return golden


# Codebooks computed by a network ------------------------------------------------------------------


def mlp_weights(source, hidden, depth):
    """Draws MLP weights; kernels are (in, out)."""

    def draw(*shape):
        return on_grid(source.rng.normal(scale=0.8 / np.sqrt(shape[0]), size=shape))

    weights = {"input_kernel": draw(2 * D, D), "input_bias": draw(D)}
    for block in range(depth):
        weights |= {
            f"block{block}_hidden_kernel": draw(D, hidden),
            f"block{block}_hidden_bias": draw(hidden),
            f"block{block}_output_kernel": draw(hidden, D),
            f"block{block}_output_bias": draw(D),
        }
    return weights


def mlp_parameters(mlp):
    """Returns the MLP parameters of VQP in the order of `mlp_weights`."""
    parameters = [mlp.proj_in.weight, mlp.proj_in.bias]
    for block in mlp.layers:
        parameters += [block[0].weight, block[0].bias, block[2].weight, block[2].bias]
    return parameters


def mlp_output(weights, codes, condition):
    """Computes the MLP for (K, D) embeddings and (N, D) conditions in torch, -> (N, K, D)."""
    rows, size = len(condition), len(codes)
    both = [condition[:, None].expand(rows, size, D), codes[None].expand(rows, size, D)]
    x = torch.cat(both, dim=-1) @ weights["input_kernel"] + weights["input_bias"]
    for block in range((len(weights) - 2) // 4):
        name = f"block{block}"
        hidden = x @ weights[f"{name}_hidden_kernel"] + weights[f"{name}_hidden_bias"]
        hidden = hidden * torch.sigmoid(hidden)
        x = x + hidden @ weights[f"{name}_output_kernel"] + weights[f"{name}_output_bias"]
    return x


def implicit_replay(inputs, codebooks, mlps, straight=True):
    """Computes QINCo in float64 torch, whose gradients pass through the networks."""
    residual, total = inputs, torch.zeros_like(inputs)
    indices, losses, gaps = [], [], []
    rows = torch.arange(len(inputs))
    for level, codes in enumerate(codebooks):
        codes = codes[None].expand(len(inputs), K, D)
        if level:
            codes = mlp_output(mlps[level - 1], codebooks[level], total)
        squared = ((residual[:, None] - codes) ** 2).sum(-1).detach()
        two = squared.sort().values[:, :2]
        gaps.append(two[:, 1] - two[:, 0])
        indices.append(squared.argmin(-1))
        code = codes[rows, indices[-1]]
        losses.append(((code - residual) ** 2).mean())
        out = residual + (code - residual).detach() if straight else code
        residual = residual - out.detach()
        total = total + out
    return torch.stack(indices, -1), total, torch.stack(losses), torch.stack(gaps).amin(0)


def vqp_residual_implicit(source, num_quantizers, mlp_kwargs, **settings):
    """Writes QINCo of VQP: a network computes the code vectors from the second stage on."""
    codebooks = draw_codebooks(source, num_quantizers, shrink=0.8)
    weights = [
        mlp_weights(source, mlp_kwargs["dim_hidden"], mlp_kwargs["depth"])
        for _ in range(num_quantizers - 1)
    ]
    layer = ResidualVQ(
        dim=D,
        num_quantizers=num_quantizers,
        codebook_size=K,
        implicit_neural_codebook=True,
        mlp_kwargs=mlp_kwargs,
        **settings,
    )
    with torch.no_grad():
        for level, codes in zip(layer.layers, codebooks, strict=True):
            level._codebook.embed.copy_(torch.tensor(codes)[None])
        for mlp, arrays in zip(layer.mlps, weights, strict=True):
            for parameter, array in zip(mlp_parameters(mlp), arrays.values(), strict=True):
                parameter.copy_(torch.tensor(array.T))

    def exact(array, trainable=False):
        return torch.tensor(np.asarray(array, "float64"), requires_grad=trainable)

    books = [exact(codes, True) for codes in codebooks]
    nets = [{name: exact(array, True) for name, array in arrays.items()} for arrays in weights]

    def clear(drawn):
        return implicit_replay(exact(drawn), books, nets)[-1].numpy() > GAP

    def draw(rows):
        return on_grid(source.rng.normal(scale=1.1, size=(rows, D)))

    inputs = source.draw(ROWS, draw, clear)
    upstream = source.upstream(ROWS, D)
    golden = {"codebooks": codebooks, "inputs": inputs, "upstream": upstream}
    for number, arrays in enumerate(weights, 1):
        golden |= prefixed(f"mlp{number}_", arrays)

    names = ["codebook_gradients"]
    names += [f"mlp{n}_{name}_gradients" for n, net in enumerate(nets, 1) for name in net]

    def named(gradients):  # those of codebooks are stacked
        stacked = np.stack([np.asarray(g).reshape(K, D) for g in gradients[:num_quantizers]])
        rest = [np.asarray(gradient) for gradient in gradients[num_quantizers:]]
        return dict(zip(names, [stacked, *rest], strict=True))

    def parameters(lists):
        return [parameter for one in lists for parameter in one]

    # "direct": the input needs no gradient, so VQP leaves the straight-through estimator out.
    for prefix, straight in ("", True), ("direct_", False):
        batch = torch.tensor(inputs[None], requires_grad=straight)
        quantized, indices, losses = layer.train()(batch)
        objective = losses.sum() + (quantized * torch.tensor(upstream)).sum()
        trained = [level._codebook.embed for level in layer.layers]
        trained += parameters(map(mlp_parameters, layer.mlps))
        gradients = torch.autograd.grad(objective, [*trained, *[batch] * straight])
        # Kernels are transposed; the codebooks have three axes.
        own = [g.T if g.ndim == 2 else g for g in gradients[: len(trained)]]
        result = named(own) | {
            "indices": indices_of(indices[0]),
            "quantized": quantized[0].detach().numpy(),
            "losses": losses.detach().numpy(),
        }
        rows = exact(inputs, True)
        found = implicit_replay(rows, books, nets, straight)
        objective = found[2].sum() + (found[1] * exact(upstream)).sum()
        trained = [*books, *parameters(net.values() for net in nets), rows]
        gradients_replayed = torch.autograd.grad(objective, trained)
        expected = named(gradients_replayed[:-1]) | {
            "indices": found[0].numpy(),
            "quantized": found[1].detach().numpy(),
            "losses": found[2].detach().numpy(),
        }
        if straight:
            result["input_gradients"] = gradients[-1][0].numpy()
            expected["input_gradients"] = gradients_replayed[-1].numpy()
        else:
            for name in ("indices", "quantized", "losses"):
                check(golden, name, result.pop(name))  # equal values
                expected.pop(name)
        golden |= prefixed(prefix, result)
        for name, value in expected.items():
            # Sums over all rows and code vectors in float32 have relative errors of a few 1e-6.
            check(golden, prefix + name, value, relative=1e-5)

    with torch.no_grad():
        quantized, indices, losses = layer.eval()(torch.tensor(inputs[None]))
        decoded = layer.get_output_from_indices(indices)
    golden |= {
        "eval_indices": indices_of(indices[0]),
        "eval_quantized": quantized[0].numpy(),
        "eval_losses": losses.detach().numpy(),
        "decoded": decoded[0].numpy(),
    }
    expected = {"eval_indices": golden["indices"], "eval_losses": 0.0}
    expected |= {"eval_quantized": golden["quantized"], "decoded": golden["quantized"]}
    check_all(golden, expected)
    return golden


# Grouped ------------------------------------------------------------------------------------------


def vqp_grouped(source, groups, num_quantizers, **settings):
    """Writes one residual quantizer per group; three training steps and one evaluation."""
    decay = settings["decay"]
    width = D // groups
    layer = GroupedResidualVQ(
        dim=D, groups=groups, num_quantizers=num_quantizers, codebook_size=K, **settings
    )
    initial = np.stack([draw_codebooks(source, num_quantizers, width) for _ in range(groups)])
    with torch.no_grad():
        for group, books in zip(layer.rvqs, initial, strict=True):
            for level, codes in zip(group.layers, books, strict=True):
                level._codebook.embed.copy_(torch.tensor(codes)[None])
                level._codebook.embed_avg.copy_(torch.tensor(codes)[None])

    def split(inputs):
        return np.split(inputs, groups, axis=-1)

    def replays(inputs, books):
        return [replay(part, book) for part, book in zip(split(inputs), books, strict=True)]

    def draw_clear(books):
        return source.draw(
            ROWS,
            lambda rows: on_grid(source.rng.normal(scale=1.1, size=(rows, D))),
            lambda drawn: np.min([found[-1] for found in replays(drawn, books)], axis=0) > GAP,
        )

    upstream = source.upstream(ROWS, D)
    counts = np.ones((groups, num_quantizers, K))
    sums = initial.astype("float64")
    books = sums.copy()
    steps, replayed = [], []
    for _ in range(STEPS):
        inputs = draw_clear(books)
        batch = torch.tensor(inputs[None], requires_grad=True)
        quantized, indices, losses = layer.train()(batch)
        objective = losses.sum() + (quantized * torch.tensor(upstream)).sum()
        (gradients,) = torch.autograd.grad(objective, [batch])
        steps.append(
            {
                "inputs": inputs,
                "indices": indices_of(indices[:, 0]),
                "quantized": quantized[0].detach().numpy(),
                "losses": losses.detach().numpy(),
                "input_gradients": gradients[0].numpy(),
                "codebooks": layer.codebooks.numpy().copy(),
            }
        )
        found = replays(inputs, books)
        error = [residuals - codes for _, codes, residuals, _ in found]
        replayed.append(
            {
                "indices": np.stack([one[0] for one in found]),
                "quantized": np.concatenate([one[1].sum(axis=0) for one in found], axis=-1),
                "losses": np.stack([np.mean(one**2, axis=(1, 2)) for one in error]),
                # The loss of a group is the mean over its dimensions.
                "input_gradients": num_quantizers * upstream
                + np.concatenate([2.0 / ROWS / width * one.sum(axis=0) for one in error], axis=-1),
            }
        )
        for g, (indices, _, residuals, _) in enumerate(found):
            for q in range(num_quantizers):
                counts[g, q], sums[g, q] = average(
                    counts[g, q], sums[g, q], residuals[q], indices[:, q], decay
                )
                books[g, q] = smoothed(counts[g, q], sums[g, q])
        replayed[-1]["codebooks"] = books.copy()
    golden = {"initial_codebooks": initial, "upstream": upstream} | stack(steps)
    check_all(golden, stack(replayed))

    inputs = draw_clear(books)
    with torch.no_grad():
        quantized, indices, losses = layer.eval()(torch.tensor(inputs[None]))
        decoded = layer.get_output_from_indices(indices)
    golden |= {
        "eval_inputs": inputs,
        "eval_indices": indices_of(indices[:, 0]),
        "eval_quantized": quantized[0].numpy(),
        "eval_losses": losses.detach().numpy(),
    }
    found = replays(inputs, books)
    check(golden, "eval_indices", np.stack([one[0] for one in found]))
    check(golden, "eval_quantized", np.concatenate([one[1].sum(axis=0) for one in found], -1))
    check(golden, "eval_quantized", decoded[0].numpy())
    check(golden, "eval_losses", 0.0)
    return golden


EMA = {"decay": 0.8, "rotation_trick": False, "commitment_weight": 1.0}
EMA |= {"eps": EPSILON, "threshold_ema_dead_code": 0}

# name: (function, settings)
CASES = {
    "vqp_residual": (vqp_residual, EMA | {"eval_beam_size": 4}),
    "vqp_residual_implicit": (
        vqp_residual_implicit,
        {
            "num_quantizers": 3,
            "mlp_kwargs": {"dim_hidden": 12, "depth": 2},
            "rotation_trick": False,
            "commitment_weight": 1.0,
        },
    ),
    "vqp_grouped": (vqp_grouped, EMA | {"groups": 2, "num_quantizers": 2}),
}
