"""Generator of the golden arrays for the parity tests, from the outputs of other packages.

Runs Sonnet, vector-quantize-pytorch and scikit-learn on random data and writes one .npz file per
case beside this script. Each case is first compared with the published formulas in float64 NumPy; a
difference above 1e-5 (gradients: 1e-7) stops the script. README.md lists the arrays,
requirements.txt the versions.

    python make_goldens.py                      # every case
    python make_goldens.py vqp_ema sonnet_vq    # some of them

This script has the gradient and EMA codebooks and k-means. Other vector quantizers and auxiliary
losses are in goldens_vectors.py, residual quantizers in goldens_residual.py, scalar quantizers in
goldens_scalar.py, and formulas of papers without a package in goldens_papers.py.
"""

import argparse
import importlib.metadata
import json
import os
import pathlib
import zlib

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"  # must be set before TensorFlow is imported

import goldens_papers
import goldens_residual
import goldens_scalar
import goldens_vectors
import numpy as np
import sonnet as snt
import tensorflow as tf
import torch
from goldens_common import (
    GAP,
    TOLERANCE,
    D,
    K,
    N,
    Source,
    check,
    counts_and_sums,
    distances,
    nearest,
    on_grid,
    perplexity,
    rotation_gradients,
    stack,
    unit,
)
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits
from vector_quantize_pytorch import VectorQuantize
from vector_quantize_pytorch.vector_quantize_pytorch import rotate_to

STEPS = 10
EPSILON = 1e-5  # Laplace smoothing of both packages


# Sonnet -------------------------------------------------------------------------------------------


def run_sonnet(layer, inputs, upstream):
    """Runs one training call; codebooks and their gradients are transposed to (K, D)."""
    inputs = tf.constant(inputs)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(inputs)
        outputs = layer(inputs, is_training=True)
        objective = outputs["loss"] + tf.reduce_sum(outputs["quantize"] * upstream)
    result = {
        "indices": outputs["encoding_indices"].numpy().astype("int32"),
        "quantized": outputs["quantize"].numpy(),
        "loss": outputs["loss"].numpy(),
        "perplexity": outputs["perplexity"].numpy(),
        "input_gradients": tape.gradient(objective, inputs).numpy(),
    }
    if layer.embeddings.trainable:
        gradients = tf.convert_to_tensor(tape.gradient(objective, layer.embeddings))
        result["codebook_gradients"] = gradients.numpy().T
    return result


def sonnet_vq(source, learning_rate, commitment_cost):
    """Writes a gradient codebook: one call with all gradients, then SGD on the codebook."""
    layer = snt.nets.VectorQuantizer(D, K, commitment_cost)
    layer.embeddings.assign(source.codes.T)
    inputs, upstream = source.inputs(source.codes), source.upstream(N, D)
    golden = {"initial_codebook": source.codes, "inputs": inputs, "upstream": upstream}
    golden |= run_sonnet(layer, inputs, upstream)
    steps = []
    for _ in range(STEPS):
        inputs = source.inputs(layer.embeddings.numpy().T)
        result = run_sonnet(layer, inputs, np.zeros_like(inputs))
        layer.embeddings.assign_sub(learning_rate * result["codebook_gradients"].T)
        steps.append(
            {
                "step_inputs": inputs,
                "step_indices": result["indices"],
                "step_loss": result["loss"],
                "step_codebook": layer.embeddings.numpy().T,
            }
        )
    golden |= stack(steps)
    check_gradient_codebook(golden, learning_rate, commitment_cost)
    check(golden, "perplexity", perplexity(golden["indices"]))
    return golden


def sonnet_ema(source, decay, commitment_cost, epsilon):
    """Writes an EMA codebook with bias correction."""
    layer = snt.nets.VectorQuantizerEMA(D, K, commitment_cost, decay, epsilon)
    layer.embeddings.assign(source.codes.T)
    upstream = source.upstream(N, D)
    steps = []
    for _ in range(STEPS):
        inputs = source.inputs(layer.embeddings.numpy().T)
        result = run_sonnet(layer, inputs, upstream)
        state = {
            "codebook": layer.embeddings.numpy().T,
            "cluster_size": layer.ema_cluster_size.average.numpy(),
            "embed_avg": layer.ema_dw.average.numpy().T,
        }
        steps.append({"inputs": inputs} | result | state)
    golden = {"initial_codebook": source.codes, "upstream": upstream} | stack(steps)
    check_ema(golden, decay, commitment_cost, debias=True)
    check(golden, "perplexity", [perplexity(indices) for indices in golden["indices"]])
    return golden


# vector-quantize-pytorch --------------------------------------------------------------------------


def build_vqp(codes, **settings):
    layer = VectorQuantize(dim=D, codebook_size=K, **settings)
    with torch.no_grad():
        layer._codebook.embed.copy_(torch.tensor(codes)[None])
        layer._codebook.embed_avg.copy_(torch.tensor(codes)[None])
        layer._codebook.cluster_size.fill_(1.0)  # the initial value of the package
    return layer.train()


def vqp_state(layer):
    state = layer._codebook
    return {
        "codebook": state.embed[0].detach().numpy().copy(),
        "cluster_size": state.cluster_size[0].numpy().copy(),
        "embed_avg": state.embed_avg[0].numpy().copy(),
    }


def run_vqp(layer, inputs, upstream, mask=None):
    """Runs one training call. Inputs without a batch axis become (1, N, D)."""
    batch = torch.tensor(inputs if mask is not None else inputs[None], requires_grad=True)
    quantized, indices, loss = layer(batch, mask=None if mask is None else torch.tensor(mask))
    objective = loss + (quantized * torch.tensor(upstream)).sum()
    learnable = [layer._codebook.embed] if layer.learnable_codebook else []
    gradients = torch.autograd.grad(objective, [batch, *learnable])
    result = {
        "indices": indices.detach().numpy().astype("int32").reshape(inputs.shape[:-1]),
        "quantized": quantized.detach().numpy().reshape(inputs.shape),
        "loss": loss.detach().numpy(),
        "input_gradients": gradients[0].numpy().reshape(inputs.shape),
    }
    if learnable:
        result["codebook_gradients"] = gradients[1].numpy()[0]
    return result


def vqp_steps(layer, source, upstream, cosine=False):
    """Runs training steps on new inputs and records the state after each."""
    steps = []
    for _ in range(STEPS):
        inputs = source.inputs(vqp_state(layer)["codebook"], cosine)
        result = run_vqp(layer, inputs, upstream)
        steps.append({"inputs": inputs} | result | vqp_state(layer))
    return steps


def vqp_ema(source, **settings):
    """Writes an EMA codebook, then one evaluation call."""
    layer = build_vqp(source.codes, **settings)
    upstream = source.upstream(N, D)
    steps = vqp_steps(layer, source, upstream)
    golden = {"initial_codebook": source.codes, "upstream": upstream} | stack(steps)

    inputs = source.inputs(golden["codebook"][-1])
    with torch.no_grad():
        quantized, indices, loss = layer.eval()(torch.tensor(inputs[None]))
    golden |= {
        "eval_inputs": inputs,
        "eval_indices": indices[0].numpy().astype("int32"),
        "eval_quantized": quantized[0].numpy(),
        "eval_loss": loss.detach().numpy(),
    }
    check_ema(golden, settings["decay"], settings["commitment_weight"])
    codes = golden["codebook"][-1]
    check(golden, "eval_quantized", codes[nearest(inputs, codes)])
    check(golden, "eval_loss", 0.0)
    for name, value in vqp_state(layer).items():
        check(golden, name, [*golden[name][:-1], value])  # evaluation changes no state
    return golden


def vqp_learnable(source, learning_rate, **settings):
    """Writes a gradient codebook: one call with all gradients, then SGD on the codebook."""
    layer = build_vqp(source.codes, **settings)
    inputs, upstream = source.inputs(source.codes), source.upstream(N, D)
    golden = {"initial_codebook": source.codes, "inputs": inputs, "upstream": upstream}
    golden |= run_vqp(layer, inputs, upstream)
    optimizer = torch.optim.SGD([layer._codebook.embed], lr=learning_rate)
    steps = []
    for _ in range(STEPS):
        inputs = source.inputs(vqp_state(layer)["codebook"])
        _, indices, loss = layer(torch.tensor(inputs[None]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps.append(
            {
                "step_inputs": inputs,
                "step_indices": indices[0].numpy().astype("int32"),
                "step_loss": loss.detach().numpy(),
                "step_codebook": vqp_state(layer)["codebook"],
            }
        )
    golden |= stack(steps)
    check_gradient_codebook(golden, learning_rate, commitment=1.0, total=1.0)
    return golden


def vqp_rotation(source, **settings):
    """Writes the rotation trick: one training step, and the function for edge cases."""
    layer = build_vqp(source.codes, **settings)
    inputs, upstream = source.inputs(source.codes), source.upstream(N, D)
    golden = {"initial_codebook": source.codes, "inputs": inputs, "upstream": upstream}
    golden |= run_vqp(layer, inputs, upstream) | vqp_state(layer)
    targets = source.codes[golden["indices"]]
    check(golden, "quantized", targets)
    gradients = rotation_gradients(inputs, targets, upstream)
    check(golden, "input_gradients", gradients + 2.0 * (inputs - targets) / inputs.size)
    check(golden, "loss", np.mean((inputs - targets) ** 2))

    kinds = np.repeat(np.arange(6), 8).astype("int32")
    sources = on_grid(source.rng.normal(size=(len(kinds), D)))
    targets = on_grid(source.rng.normal(size=(len(kinds), D)))  # kind 0: any
    targets[kinds == 1] = sources[kinds == 1] * 1.5 + 0.0625  # nearly parallel
    targets[kinds == 2] = sources[kinds == 2] * -0.5  # exactly opposite
    targets[kinds == 3] = sources[kinds == 3] * -2.0 + 0.5  # nearly opposite
    targets[kinds == 4] *= 2.0**-10  # nearly zero
    targets[kinds == 5] = 0.0  # zero
    upstream = source.upstream(len(kinds), D)
    rows = torch.tensor(sources, requires_grad=True)
    outputs = rotate_to(rows, torch.tensor(targets))
    (gradients,) = torch.autograd.grad((outputs * torch.tensor(upstream)).sum(), [rows])
    golden |= {
        "rotate_kinds": kinds,
        "rotate_sources": sources,
        "rotate_targets": targets,
        "rotate_upstream": upstream,
        "rotate_outputs": outputs.detach().numpy(),
        "rotate_gradients": gradients.numpy(),
    }
    check(golden, "rotate_outputs", targets)
    check(golden, "rotate_gradients", rotation_gradients(sources, targets, upstream))
    return golden


def vqp_restart(source, **settings):
    """Writes dead-code restarts with rows of the batch, after the EMA update."""
    decay, threshold = settings["decay"], settings["threshold_ema_dead_code"]
    layer = build_vqp(source.codes, **settings)
    upstream = source.upstream(N, D)
    steps = []
    for _ in range(3):
        state = vqp_state(layer)
        on_edge = True
        while on_edge:  # for counts at the threshold, rounding would decide
            inputs = source.inputs(state["codebook"])
            hits = np.bincount(nearest(inputs, state["codebook"]), minlength=K)
            counts = decay * state["cluster_size"] + (1.0 - decay) * hits
            on_edge = np.abs(counts - threshold).min() < GAP
        step = {"inputs": inputs} | run_vqp(layer, inputs, upstream) | vqp_state(layer)
        # Only restarted code vectors are equal to a row of the batch.
        same = np.all(step["codebook"][:, None] == step["inputs"][None], axis=-1)  # (K, N)
        step["restarted"] = same.any(axis=1)
        step["restart_rows"] = np.where(step["restarted"], same.argmax(axis=1), -1).astype("int32")
        steps.append(step)
    golden = {"initial_codebook": source.codes, "upstream": upstream} | stack(steps)
    assert golden["restarted"].any(axis=1).all()
    assert not golden["restarted"].all(axis=1).any()
    check_ema(golden, decay, settings["commitment_weight"], threshold=threshold)
    return golden


def vqp_masked(source, **settings):
    """Writes an EMA codebook with masked sequences: 8 of up to 32 positions."""
    layer = build_vqp(source.codes, **settings)
    upstream = source.upstream(8, N // 8, D)
    steps = []
    for _ in range(STEPS):
        mask = np.arange(N // 8) < source.rng.integers(1, N // 8 + 1, size=(8, 1))
        inputs = source.inputs(vqp_state(layer)["codebook"]).reshape(8, N // 8, D)
        inputs[~mask] = 7.0  # far from all code vectors, to detect unmasked padding
        result = run_vqp(layer, inputs, upstream, mask)
        steps.append({"inputs": inputs, "mask": mask} | result | vqp_state(layer))
    golden = {"initial_codebook": source.codes, "upstream": upstream} | stack(steps)
    check_ema(golden, settings["decay"], settings["commitment_weight"])
    return golden


def vqp_cosine(source, **settings):
    """Writes an EMA codebook with cosine similarity and unit code vectors."""
    source.codes = unit(source.codes)
    layer = build_vqp(source.codes, **settings)
    upstream = source.upstream(N, D)
    steps = vqp_steps(layer, source, upstream, cosine=True)
    golden = {"initial_codebook": source.codes, "upstream": upstream} | stack(steps)
    check_ema(golden, settings["decay"], settings["commitment_weight"], cosine=True)
    return golden


# scikit-learn -------------------------------------------------------------------------------------


def kmeans(source, **settings):
    """Writes ten Lloyd iterations from given centers, without empty clusters."""
    data = source.inputs(source.codes)
    initial = source.codes[:8] + 0.0
    with threadpool_limits(limits=1):  # sums over threads are not deterministic
        model = KMeans(n_clusters=len(initial), init=initial, **settings).fit(data)

    centers = initial.astype("float64")
    for _ in range(settings["max_iter"]):
        counts, sums = counts_and_sums(data, nearest(data, centers), len(centers))
        assert counts.min() > 0
        centers = sums / counts[:, None]
    golden = {
        "data": data,
        "initial_centers": initial,
        "centers": model.cluster_centers_,
        "labels": model.labels_.astype("int32"),
        "inertia": np.float32(model.inertia_),
        "iterations": np.int32(model.n_iter_),
    }
    check(golden, "centers", centers)
    check(golden, "labels", nearest(data, centers))
    check(golden, "inertia", distances(data, centers).min(axis=1).sum(), relative=1e-6)
    return golden


# Reference computations in float64 NumPy ----------------------------------------------------------


def check_gradient_codebook(golden, learning_rate, commitment, total=None):
    """Checks loss total * MSE, with weight `commitment` for inputs and 1 for the codebook."""
    total = 1.0 + commitment if total is None else total

    def codebook_gradients(inputs, codes, indices):
        counts, sums = counts_and_sums(inputs, indices, K)
        return 2.0 * (counts[:, None] * codes - sums) / inputs.size

    codes = golden["initial_codebook"].astype("float64")
    inputs, indices = golden["inputs"], nearest(golden["inputs"], codes)
    error = inputs - codes[indices]
    check(golden, "indices", indices)
    check(golden, "quantized", codes[indices])
    check(golden, "loss", total * np.mean(error**2))
    check(golden, "input_gradients", golden["upstream"] + 2.0 * commitment * error / error.size)
    check(golden, "codebook_gradients", codebook_gradients(inputs, codes, indices))
    replayed = []
    for inputs in golden["step_inputs"]:
        indices = nearest(inputs, codes)
        loss = total * np.mean((inputs - codes[indices]) ** 2)
        codes = codes - learning_rate * codebook_gradients(inputs, codes, indices)
        replayed.append({"step_indices": indices, "step_loss": loss, "step_codebook": codes})
    for name, expected in stack(replayed).items():
        check(golden, name, expected)


def check_ema(golden, decay, commitment, debias=False, cosine=False, threshold=0):
    codes = golden["initial_codebook"].astype("float64")
    counts, sums = (np.zeros(K), np.zeros((K, D))) if debias else (np.ones(K), codes.copy())
    upstream = golden["upstream"].reshape(N, D)
    replayed = []
    for step, inputs in enumerate(golden["inputs"].astype("float64")):
        mask = golden["mask"][step] if "mask" in golden else np.ones(inputs.shape[:-1], bool)
        mask, raw = mask.reshape(N), inputs.reshape(N, D)
        x = unit(raw) if cosine else raw
        indices = nearest(x, codes)
        error = np.where(mask[:, None], x - codes[indices], 0.0)
        size = mask.sum() * D
        gradients = mask[:, None] * upstream + 2.0 * commitment * error / size
        if cosine:  # gradient of x = raw / |raw|
            gradients -= np.sum(gradients * x, axis=-1, keepdims=True) * x
            gradients /= np.linalg.norm(raw, axis=-1, keepdims=True)
        result = {
            "indices": np.where(mask, indices, -1).reshape(inputs.shape[:-1]),
            "quantized": np.where(mask[:, None], codes[indices], 0.0).reshape(inputs.shape),
            "loss": commitment * np.sum(error**2) / size,
            "input_gradients": gradients.reshape(inputs.shape),
        }

        batch_counts, batch_sums = counts_and_sums(x[mask], indices[mask], K)
        counts = decay * counts + (1.0 - decay) * batch_counts
        sums = decay * sums + (1.0 - decay) * batch_sums
        bias = 1.0 - decay ** (step + 1) if debias else 1.0
        n, m = counts / bias, sums / bias
        smoothed = (n + EPSILON) / (n.sum() + K * EPSILON) * n.sum()
        codes = m / smoothed[:, None]
        codes = unit(codes) if cosine else codes
        if threshold:  # replacement rows of dead codes are random
            dead = counts < threshold
            result["restarted"] = dead
            codes[dead] = x[golden["restart_rows"][step][dead]]
            counts[dead], sums[dead] = threshold, threshold * codes[dead]
            n, m = counts, sums
        result |= {"codebook": codes.copy(), "cluster_size": n.copy(), "embed_avg": m.copy()}
        replayed.append(result)
    for name, expected in stack(replayed).items():
        # Counts and sums reach 60; 1 - 0.99 ** step has a relative float32 error of 2e-6.
        check(golden, name, expected, TOLERANCE if name in ("cluster_size", "embed_avg") else 0.0)


# Cases --------------------------------------------------------------------------------------------

SONNET = ("dm-sonnet", "tensorflow")
VQP = ("vector-quantize-pytorch", "torch")
PAPERS = ("numpy", "torch")
EMA = {"decay": 0.8, "rotation_trick": False, "commitment_weight": 1.0}
EMA |= {"eps": EPSILON, "threshold_ema_dead_code": 0}
GRADIENT = {"learnable_codebook": True, "ema_update": False, "rotation_trick": False}
LLOYD = {"n_init": 1, "max_iter": 10, "algorithm": "lloyd", "tol": 0}

# name: (packages, function, settings)
CASES = {
    "sonnet_vq": (SONNET, sonnet_vq, {"learning_rate": 10.0, "commitment_cost": 0.25}),
    "sonnet_ema": (
        SONNET,
        sonnet_ema,
        {"decay": 0.99, "commitment_cost": 0.25, "epsilon": EPSILON},
    ),
    "sonnet_ema_fast": (
        SONNET,
        sonnet_ema,
        {"decay": 0.8, "commitment_cost": 0.25, "epsilon": EPSILON},
    ),
    "vqp_ema": (VQP, vqp_ema, EMA),
    "vqp_learnable": (
        VQP,
        vqp_learnable,
        GRADIENT | {"learning_rate": 10.0, "commitment_weight": 1.0},
    ),
    "vqp_rotation": (VQP, vqp_rotation, EMA | {"rotation_trick": True}),
    "vqp_restart": (VQP, vqp_restart, EMA | {"threshold_ema_dead_code": 2}),
    "vqp_masked": (VQP, vqp_masked, EMA),
    "vqp_cosine": (VQP, vqp_cosine, EMA | {"use_cosine_sim": True}),
    "kmeans": (("scikit-learn",), kmeans, LLOYD),
}
for module in (goldens_vectors, goldens_residual, goldens_scalar):
    CASES |= {name: (VQP, *case) for name, case in module.CASES.items()}
CASES |= {name: (PAPERS, *case) for name, case in goldens_papers.CASES.items()}


def make(name, seed):
    """Runs one case, with random draws that do not depend on other cases."""
    packages, function, settings = CASES[name]
    torch.manual_seed(seed)
    source = Source(np.random.default_rng([seed, zlib.crc32(name.encode())]))
    golden = function(source, **settings)
    meta = {
        "package": packages[0],
        "version": importlib.metadata.version(packages[0]),
        "versions": {package: importlib.metadata.version(package) for package in packages},
        "settings": settings,
        "seed": seed,
    }
    for array_name, array in golden.items():
        golden[array_name] = array = np.asarray(array)
        assert array.dtype in (np.float32, np.int32, np.bool_), (array_name, array.dtype)
        assert array.dtype != np.float32 or np.isfinite(array).all(), array_name
    return golden | {"meta": np.array(json.dumps(meta, sort_keys=True))}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="case", help=", ".join(CASES))
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    parser.add_argument("--seed", type=int, default=0, help="default: 0, the stored files")
    arguments = parser.parse_args()
    unknown = set(arguments.cases) - set(CASES)
    if unknown:
        parser.error(f"unknown cases {sorted(unknown)}; choose from {', '.join(CASES)}")

    for package in (*SONNET, *VQP, "scikit-learn", "numpy"):
        print(package, importlib.metadata.version(package))
    for name in arguments.cases or CASES:
        golden = make(name, arguments.seed)
        path = arguments.output / f"{name}.npz"
        np.savez_compressed(path, **golden)
        print(f"\n{path.name}: {path.stat().st_size} bytes")
        for array_name, array in golden.items():
            print(f"  {array_name} {array.dtype} {array.shape}")


if __name__ == "__main__":
    main()
