"""Golden arrays of other vector quantizers and auxiliary losses of VQP."""

import functools

import numpy as np
import torch
from goldens_common import (
    GAP,
    D,
    K,
    check,
    check_all,
    counts_and_sums,
    distances,
    entropy,
    entropy_gradients,
    is_clear,
    nearest,
    on_grid,
    prefixed,
    rotation_gradients,
    softmax,
    softmax_gradients,
    stack,
    unit,
    unit_gradients,
)
from vector_quantize_pytorch import RandomProjectionQuantizer, SimVQ, VectorQuantize

ROWS = 64


def build(codes, **settings):
    layer = VectorQuantize(dim=D, codebook_size=len(codes), **settings)
    with torch.no_grad():
        layer._codebook.embed.copy_(torch.tensor(codes)[None])
        layer._codebook.embed_avg.copy_(torch.tensor(codes)[None])
    return layer.train()


def codebook(layer):
    return layer._codebook.embed[0].detach().numpy().copy()


def indices_of(tensor):
    return tensor.detach().numpy().astype("int32")


def run(layer, inputs, upstream):
    """Runs one training call of a layer with a trainable codebook; inputs (N, D)."""
    batch = torch.tensor(inputs[None], requires_grad=True)
    quantized, indices, loss, parts = layer(batch, return_loss_breakdown=True)
    objective = loss + (quantized * torch.tensor(upstream)).sum()
    gradients = torch.autograd.grad(objective, [batch, layer._codebook.embed])
    return {
        "indices": indices_of(indices[0]),
        "quantized": quantized[0].detach().numpy(),
        "loss": loss.detach().numpy(),
        "input_gradients": gradients[0][0].numpy(),
        "codebook_gradients": gradients[1][0].numpy(),
    }, parts


def sum_by_code(rows, indices):
    return np.eye(K)[indices].T @ rows


# Directional reparameterization -------------------------------------------------------------------


def vqp_directional(source, directional_reparam_variance, noisy_variance, **settings):
    """Writes DiVeQ with nearly no noise, then with stored noise."""
    inputs = source.inputs(source.codes)[:ROWS]
    upstream = source.upstream(ROWS, D)
    golden = {"codebook": source.codes, "inputs": inputs, "upstream": upstream}
    indices = nearest(inputs, source.codes)
    error = source.codes[indices].astype("float64") - inputs
    length = np.linalg.norm(error, axis=-1, keepdims=True)

    for prefix, variance in ("", directional_reparam_variance), ("noisy_", noisy_variance):
        layer = build(source.codes, directional_reparam_variance=variance, **settings)
        torch.manual_seed(0)
        result, _ = run(layer, inputs, upstream)
        torch.manual_seed(0)
        noise = torch.randn(1, ROWS, D)[0].numpy()  # the only random draw of the call
        assert np.array_equal(codebook(layer), source.codes)
        golden |= prefixed(prefix, result | {"noise": noise})

        direction = unit(error + np.sqrt(variance) * noise)
        along = np.sum(upstream * direction, axis=-1, keepdims=True)
        expected = {
            "indices": indices,
            "quantized": inputs + direction * length,
            "loss": 0.0,
            "input_gradients": upstream - along * error / length,
            "codebook_gradients": sum_by_code(along * error / length, indices),
        }
        check_all(golden, expected, prefix)
    del golden["noise"]  # without effect

    with torch.no_grad():
        quantized, _, loss = layer.eval()(torch.tensor(inputs[None]))
    golden |= {"eval_quantized": quantized[0].numpy(), "eval_loss": loss.detach().numpy()}
    check_all(golden, {"eval_quantized": source.codes[indices], "eval_loss": 0.0})
    return golden


# In-place optimizer -------------------------------------------------------------------------------


def vqp_in_place(source, learning_rate, **settings):
    """Writes an in-place codebook step within the call, followed by a second lookup."""
    optimizer = functools.partial(torch.optim.SGD, lr=learning_rate)
    layer = build(source.codes, in_place_codebook_optimizer=optimizer, **settings)
    upstream = source.upstream(ROWS, D)

    def step_codes(inputs, codes, indices):
        counts, sums = counts_and_sums(inputs, indices, K)
        return 2.0 / inputs.size * (counts[:, None] * codes - sums)

    steps, replayed = [], []
    codes = source.codes.astype("float64")
    for _ in range(3):
        usable = False
        while not usable:  # unambiguous before and after the step, with some changed codes
            inputs = source.inputs(codes)[:ROWS]
            first = nearest(inputs, codes)
            moved = codes - learning_rate * step_codes(inputs, codes, first)
            usable = is_clear(inputs, moved).all() and (nearest(inputs, moved) != first).any()
        result, parts = run(layer, inputs, upstream)
        result |= {"in_place_loss": parts.inplace_optimize.detach().numpy()}
        steps.append({"inputs": inputs, "first_indices": first.astype("int32")} | result)
        steps[-1]["codebook"] = codebook(layer)

        indices = nearest(inputs, moved)
        error = inputs - moved[indices]
        replayed.append(
            {
                "indices": indices,
                "quantized": moved[indices],
                "loss": np.mean(error**2),
                "in_place_loss": np.mean((inputs - codes[first]) ** 2),
                "input_gradients": upstream + 2.0 * error / error.size,
                "codebook_gradients": step_codes(inputs, moved, indices),
                "codebook": moved,
            }
        )
        codes = moved
    golden = {"initial_codebook": source.codes, "upstream": upstream} | stack(steps)
    check_all(golden, stack(replayed))
    return golden


# Auxiliary losses ---------------------------------------------------------------------------------


def loss_and_gradients(loss, inputs, layer):
    gradients = torch.autograd.grad(loss, [inputs, layer._codebook.embed], allow_unused=True)
    result = {"loss": loss.detach().numpy(), "codebook_gradients": gradients[1][0].numpy()}
    if gradients[0] is not None:
        result["input_gradients"] = gradients[0].numpy()
    return result


def orthogonal(codes):
    """Computes the mean squared off-diagonal cosine and its gradient."""
    normal, size = unit(codes), len(codes)
    cosines = normal @ normal.T
    gradients = unit_gradients(codes, 4.0 / size**2 * cosines @ normal)
    return np.sum(cosines**2) / size**2 - 1.0 / size, gradients


def similarity_gradients(inputs, codes, gradients):
    """Computes gradients of inputs and code vectors from those of the negative distances."""
    difference = inputs[:, None].astype("float64") - codes[None]  # (N, K, D)
    lengths = np.linalg.norm(difference, axis=-1, keepdims=True)
    pull = -gradients[..., None] * difference / lengths
    return pull.sum(axis=1), -pull.sum(axis=0)


def vqp_losses(source, temperatures, **settings):
    """Writes each auxiliary loss, unweighted, with its gradients. Inputs are 8 rows of 8."""
    codes = source.codes
    flat = source.inputs(codes)[:ROWS]
    inputs = flat.reshape(8, 8, D)
    golden = {"codebook": codes, "inputs": inputs}
    batch = torch.tensor(inputs, requires_grad=True)
    indices, replay = nearest(flat, codes), {}
    golden["indices"] = indices.reshape(8, 8).astype("int32")

    for name, active in ("orthogonal", False), ("orthogonal_active", True):
        layer = build(
            codes, orthogonal_reg_weight=1.0, orthogonal_reg_active_codes_only=active, **settings
        )
        _, found, _, parts = layer(batch, return_loss_breakdown=True)
        golden |= prefixed(f"{name}_", loss_and_gradients(parts.orthogonal_reg, batch, layer))
        kept = np.unique(indices) if active else np.arange(K)
        replay[f"{name}_loss"], gradients = orthogonal(codes[kept].astype("float64"))
        replay[f"{name}_codebook_gradients"] = np.eye(K)[kept].T @ gradients
    assert np.array_equal(indices_of(found), golden["indices"])

    similarities = -np.sqrt(distances(flat, codes))
    for temperature in temperatures:
        layer = build(
            codes,
            codebook_diversity_loss_weight=1.0,
            codebook_diversity_temperature=temperature,
            **settings,
        )
        _, _, _, parts = layer(batch, return_loss_breakdown=True)
        name = f"diversity{temperature:g}_"
        golden |= prefixed(name, loss_and_gradients(parts.codebook_diversity, batch, layer))
        probabilities = softmax(temperature * similarities).reshape(8, 8, K)
        mean = probabilities.mean(axis=0)  # over the batch, per position
        replay[f"{name}loss"] = -entropy(mean, 1e-5).mean()
        gradients = -entropy_gradients(mean, 1e-5) / mean.shape[0] / len(probabilities)
        gradients = temperature * softmax_gradients(probabilities, gradients[None])
        found = similarity_gradients(flat, codes, gradients.reshape(ROWS, K))
        replay[f"{name}input_gradients"] = found[0].reshape(inputs.shape)
        replay[f"{name}codebook_gradients"] = found[1]

    given = source.rng.integers(0, K, size=(8, 8)).astype("int32")
    given[3, 5:] = -1  # ignored
    golden["given_indices"] = given
    layer = build(codes, commitment_use_cross_entropy_loss=True, **settings)
    _, _, _, parts = layer(batch, return_loss_breakdown=True)
    golden |= prefixed("commitment_", loss_and_gradients(parts.commitment, batch, layer))
    layer = build(codes, **settings)
    _, loss = layer(batch, indices=torch.tensor(given).long())
    golden |= prefixed("given_", loss_and_gradients(loss, batch, layer))
    for name, wanted in ("commitment_", indices), ("given_", given.reshape(-1)):
        valid = wanted >= 0
        probabilities, one_hot = softmax(similarities), np.eye(K)[wanted]
        chosen = np.log(np.sum(probabilities * one_hot, axis=-1))
        replay[f"{name}loss"] = -chosen[valid].mean()
        gradients = valid[:, None] * (probabilities - one_hot) / valid.sum()
        found = similarity_gradients(flat, codes, gradients)
        replay[f"{name}input_gradients"] = found[0].reshape(inputs.shape)
        replay[f"{name}codebook_gradients"] = found[1]
    for name, value in replay.items():
        # VQP computes distances as x^2 + y^2 - 2xy in float32; the temperature amplifies errors.
        check(golden, name, value, relative=1e-3 if name.startswith("diversity") else 1e-5)
    return golden


# Code vectors computed by a linear map ------------------------------------------------------------


def vqp_simvq(source, **settings):
    """Writes a frozen codebook and a trained linear map, with and without the rotation trick."""
    rng = source.rng
    frozen = on_grid(rng.normal(scale=D**-0.5, size=(K, D)))
    kernel = on_grid(rng.normal(scale=0.5, size=(D, D)) + 1.5 * np.eye(D))
    codes = frozen.astype("float64") @ kernel

    def draw(rows):
        return on_grid(codes[rng.integers(0, K, size=rows)] + rng.normal(scale=0.3, size=(rows, D)))

    inputs = source.draw(ROWS, draw, lambda drawn: is_clear(drawn, codes))
    upstream = source.upstream(ROWS, D)
    golden = {"frozen_codebook": frozen, "kernel": kernel, "inputs": inputs, "upstream": upstream}
    indices = nearest(inputs, codes)
    error = inputs - codes[indices]
    loss = np.mean(error**2)
    for prefix, rotation in ("straight_", False), ("rotation_", True):
        layer = SimVQ(dim=D, codebook_size=K, rotation_trick=rotation, **settings).train()
        with torch.no_grad():
            layer.frozen_codebook.copy_(torch.tensor(frozen))
            layer.code_transform.weight.copy_(torch.tensor(kernel.T))
        batch = torch.tensor(inputs[None], requires_grad=True)
        quantized, found, commitment = layer(batch)
        objective = commitment + (quantized * torch.tensor(upstream)).sum()
        gradients = torch.autograd.grad(objective, [batch, layer.code_transform.weight])
        result = {
            "indices": indices_of(found[0]),
            "quantized": quantized[0].detach().numpy(),
            "loss": commitment.detach().numpy(),
            "input_gradients": gradients[0][0].numpy(),
            "kernel_gradients": gradients[1].numpy().T,
        }
        golden |= prefixed(prefix, result)
        passed = rotation_gradients(inputs, codes[indices], upstream) if rotation else upstream
        expected = {
            "indices": indices,
            "quantized": codes[indices],
            "loss": 1.25 * loss,
            "input_gradients": passed + 0.25 * 2.0 * error / error.size,
            "kernel_gradients": frozen[indices].T @ (-2.0 * error / error.size),
        }
        check_all(golden, expected, prefix)
    decoded = layer.indices_to_codes(torch.arange(K)[None])[0].detach().numpy()
    golden |= {"codebook": decoded}
    check(golden, "codebook", codes)
    return golden


def vqp_random_projection(source, dim, codebook_dim):
    """Writes random-projection codes: normalized inputs, fixed projection, smallest angle."""
    rng = source.rng
    golden = {}
    for heads in (1, 2):
        layer = RandomProjectionQuantizer(
            dim=dim, codebook_size=K, codebook_dim=codebook_dim, num_codebooks=heads, norm=True
        )
        projections = on_grid(rng.normal(scale=0.3, size=(heads, dim, codebook_dim)))
        codes = unit(rng.normal(size=(heads, K, codebook_dim))).astype("float32")
        with torch.no_grad():
            layer.rand_projs.copy_(torch.tensor(projections))
            if heads == 1:
                layer.vq._codebook.embed.copy_(torch.tensor(codes))
            else:
                # In VQP an untrained linear layer mixes the projections of all heads. Here it is
                # set to pass each head its own projection, padded with zeros.
                width = heads * codebook_dim
                kernel = np.zeros((width, heads, width), "float32")
                for head in range(heads):
                    for number in range(codebook_dim):
                        kernel[head * codebook_dim + number, head, number] = 1.0
                layer.vq.project_in.weight.copy_(torch.tensor(kernel.reshape(width, -1).T))
                layer.vq.project_in.bias.zero_()
                layer.vq._codebook.embed.zero_()
                layer.vq._codebook.embed[..., :codebook_dim] = torch.tensor(codes)

        def cosines(inputs, projections=projections, codes=codes):
            x = inputs.astype("float64")
            x = x - x.mean(axis=-1, keepdims=True)
            x = x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + 1e-5)
            projected = np.einsum("nd,hde->nhe", x, projections)
            return np.einsum("nhe,hke->nhk", unit(projected), codes)

        def clear(inputs, cosines=cosines):
            two = np.sort(cosines(inputs))[..., -2:]
            return (two[..., 1] - two[..., 0]).min(axis=-1) > GAP

        inputs = source.draw(
            128, lambda rows: on_grid(rng.normal(loc=0.5, scale=2.0, size=(rows, dim))), clear
        )
        indices = indices_of(layer(torch.tensor(inputs[None]))[0]).reshape(len(inputs), heads)
        result = {"projections": projections, "codebooks": codes, "inputs": inputs}
        golden |= prefixed(f"heads{heads}_", result | {"indices": indices})
        check(golden, f"heads{heads}_indices", cosines(inputs).argmax(axis=-1))
    return golden


GRADIENT = {"learnable_codebook": True, "ema_update": False, "rotation_trick": False}

# name: (function, settings)
CASES = {
    "vqp_directional": (
        vqp_directional,
        {
            "directional_reparam": True,
            "directional_reparam_variance": 1e-12,
            "noisy_variance": 5e-3,
            "rotation_trick": False,
            "threshold_ema_dead_code": 1e-6,  # required by VQP; no code is below it
        },
    ),
    "vqp_in_place": (vqp_in_place, GRADIENT | {"learning_rate": 3.0}),
    "vqp_losses": (vqp_losses, GRADIENT | {"temperatures": (10.0, 100.0)}),
    "vqp_simvq": (vqp_simvq, {"input_to_quantize_commit_loss_weight": 0.25}),
    "vqp_random_projection": (vqp_random_projection, {"dim": 16, "codebook_dim": 8}),
}
