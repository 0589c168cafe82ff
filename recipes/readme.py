"""Writes the generated parts of README and guides, and the recipe pages.

The example of the README is `recipes/quickstart.py`. Figures come from `recipes/results/*.json`,
which the other recipes write.

Run: python -m recipes.readme [--run-quickstart]
"""

import argparse
import ast
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from recipes._goals import GOALS, table_of_goals
from recipes._guides import GUIDES, with_figures
from recipes.common import FOLDER, Stopwatch, columns_of, save, shown, table_of_rows

README = Path(__file__).parents[1] / "README.md"
FIGURES = README.parent / "docs" / "figures.md"
EXPORTS = README.parent / "saved_models" / "EXPORTS.md"
LIST = Path(__file__).with_name("README.md")
QUICKSTART = Path(__file__).with_name("quickstart.py")
LITERT = "ai-edge-litert, no TensorFlow"
# Rows of docs/figures.md: recipe, figure (or table row and column), description.
HIGHLIGHTS: list[tuple[str, str | tuple[str, str], str]] = [
    (
        "vqvae_mnist",
        ("restart, decay 0.95", "test MSE"),
        "MNIST, VQ-VAE with the network of keras.io, 128 codes, 3 epochs: test MSE",
    ),
    ("vqvae_mnist", ("restart, decay 0.95", "perplexity"), "the same: perplexity on the test set"),
    (
        "vqvae_mnist",
        ("no restart, decay 0.99", "perplexity"),
        "the same without restarts, decay 0.99: perplexity",
    ),
    (
        "compare_models",
        ("mnist: VQ-VAE", "test MSE"),
        "MNIST, VQ-VAE, 7 x 7 codes of 8 bits, 4 epochs: test MSE",
    ),
    (
        "compare_models",
        ("mnist: autoencoder", "test MSE"),
        "the autoencoder with the same networks, 16 latents of 32 bits: test MSE",
    ),
    (
        "image_analysis",
        ("mnist: VQ-VAE's quantized latents", "linear probe, %"),
        "linear probe on the quantized latents of that VQ-VAE: test accuracy, %",
    ),
    (
        "image_analysis",
        ("mnist: pixels", "linear probe, %"),
        "linear probe on pixels: test accuracy, %",
    ),
    (
        "vqvae_cifar10",
        ("Sonnet's", "error over variance"),
        "CIFAR-10, network and settings of the Sonnet notebook, 10,000 steps: MSE / variance "
        "(its log: 0.056)",
    ),
    (
        "vqvae_cifar10",
        ("Sonnet's", "perplexity per batch"),
        "the same: perplexity per batch (its log: 326)",
    ),
    (
        "denoise",
        ("cifar10: VQ-VAE", "PSNR, dB"),
        "CIFAR-10, denoising with a VQ-VAE: PSNR, dB",
    ),
    (
        "denoise",
        ("cifar10: Gaussian blur", "PSNR, dB"),
        "the same with the best of three classical methods",
    ),
    (
        "super_resolution",
        ("cifar10: VQ-VAE", "PSNR, dB"),
        "CIFAR-10, 2x super-resolution with a VQ-VAE: PSNR, dB",
    ),
    (
        "super_resolution",
        ("cifar10: Lanczos", "PSNR, dB"),
        "the same with Lanczos interpolation",
    ),
    ("autoencoder_mnist", "test MSE", "MNIST, autoencoder, 16 latents, 3 epochs: test MSE"),
    ("vae_mnist", "test ELBO (nats)", "MNIST, VAE, 16 latents, 10 epochs: test ELBO, nats"),
    (
        "latent_space_mnist",
        ("VAE, mixture of 10 Gaussians", "clear digits, %"),
        "VAE, mixture prior of 10 Gaussians: samples classified with > 0.9 confidence, %",
    ),
    (
        "latent_space_mnist",
        ("VAE, standard normal", "clear digits, %"),
        "the same with the standard normal prior",
    ),
    (
        "generate_mnist",
        ("PixelCNN", "validation nats per code"),
        "MNIST, PixelCNN prior, 1.0 M parameters, 7 x 7 codes of 128: test nats per code",
    ),
    (
        "generate_mnist",
        ("transformer", "validation nats per code"),
        "Transformer prior, 0.8 M parameters, same codes: test nats per code",
    ),
    (
        "generate_mnist",
        ("PixelCNN", "speed-up over the naive loop"),
        "PixelCNN sampling speed-up from caching, x",
    ),
    (
        "generate_mnist",
        ("transformer, by label", "class accuracy, %"),
        "class-conditional samples assigned to their class (classifier accuracy 99.3 %), %",
    ),
    (
        "generate_mnist",
        ("transformer, by label", "Fréchet distance (mnist classifier)"),
        "the same: Fréchet distance on the classifier features, 10,000 digits",
    ),
    (
        "generate_mnist",
        ("VAE, standard normal", "Fréchet distance (mnist classifier)"),
        "samples of the VAE: Fréchet distance on the classifier features",
    ),
    (
        "generate_cifar10",
        ("transformer, by label", "bits per dimension (codes only)"),
        "CIFAR-10, class-conditional Transformer prior: bits per dimension of the codes",
    ),
    (
        "backends_agree",
        "largest difference of a step, jax",
        "200 steps on JAX against TensorFlow: largest relative difference in loss",
    ),
    (
        "backends_agree",
        "largest difference of a step, torch",
        "200 steps on PyTorch against TensorFlow: largest relative difference in loss",
    ),
    (
        "compare_quantizers",
        ("gradient, 12 bits", "test MSE"),
        "CIFAR-10, 1,000 steps, 4,096 codes trained by gradient: test MSE",
    ),
    (
        "compare_quantizers",
        ("EMA, restarts, 12 bits", "test MSE"),
        "the same with EMA and restarts, all codes in use: test MSE",
    ),
    (
        "compare_quantizers",
        ("EMA, restarts, cosine in 8 dimensions, 12 bits", "test MSE"),
        "the same with cosine similarity in 8 dimensions: test MSE",
    ),
    (
        "compare_quantizers_gradient",
        ("gradient, 9 bits", "usage, %"),
        "512 codes trained by gradient, 8,000 steps: codes in use, %",
    ),
    (
        "large_codebook",
        "tensorflow, ema: peak over codebook + inputs + block",
        "memory of a step with 65,536 codes of 64 dimensions / (codebook + inputs + one block)",
    ),
    (
        "exports",
        ("vqvae_cifar10, litert, int8_dynamic, from tensorflow: " + LITERT, "codes agree, %"),
        "CIFAR-10 preset as LiteRT model with int8 convolutions: agreement of codes, %",
    ),
    (
        "serve_load",
        "8 clients: responses per second",
        "`keras-vq serve`, MNIST, 8 concurrent clients: images encoded per second",
    ),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run-quickstart", action="store_true", help="run the example first")
    if parser.parse_args().run_quickstart:
        run_quickstart()
    for page in (README, FIGURES):
        page.write_text(filled(page.read_text()))
    (FOLDER / "README.md").write_text(table_of_results())
    LIST.write_text(list_of_recipes())
    EXPORTS.write_text(table_of_exports())
    for path in GUIDES.glob("*.md"):
        path.write_text(with_figures(path.read_text(encoding="utf-8")), encoding="utf-8")


def run_quickstart() -> None:
    """Runs the example; stores its last output line and its picture."""
    stopwatch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        output = subprocess.run(
            [sys.executable, str(QUICKSTART)],
            cwd=folder,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout
        shutil.copy(Path(folder) / "reconstructions.png", FOLDER / "quickstart.png")
    save("quickstart", {"last line": output.splitlines()[-1]}, None, stopwatch)


def filled(page: str) -> str:
    """Returns a page with up-to-date generated parts."""
    code = QUICKSTART.read_text().partition('"""\n\n')[2]
    parts = {
        "example": f"```python\n{code}```",
        "output": f"```\n{results('quickstart')['figures']['last line']}\n```",
        "figures": highlights(),
    }
    for name, text in parts.items():
        between = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- end of {name} -->)", re.DOTALL)
        page = between.sub(lambda match, text=text: match[1] + text + match[2], page)
    return page


def highlights() -> str:
    """Returns the table of figures."""
    rows = ["| what | figure | command |", "| --- | --- | --- |"]
    for recipe, figure, text in HIGHLIGHTS:
        record = results(recipe)
        value = record["figures"]
        for key in (figure,) if isinstance(figure, str) else figure:
            value = value[key]
        rows.append(f"| {text} | {shown(value)} | `{record['command']}` |")
    return "\n".join(rows)


def table_of_results() -> str:
    """Returns all stored figures with command, seed, versions and duration."""
    lines = [
        "# Figures",
        "",
        "Generated by `python -m recipes.readme` from the JSON files in this folder, each written",
        "by the listed command. MSE: mean squared error of pixels in [0, 1]. The CIFAR-10 images",
        "come from a JPEG copy (pixel variance 0.0627, original 0.0633), so their figures differ",
        "from published ones in the last digits.",
        "",
        *table_of_goals(GOALS, FOLDER, "python -m recipes."),
        "",
        "## All figures",
        "",
        "| command | figure | value | seed | seconds | backend |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    machines = set()
    tables = []
    for path in sorted(FOLDER.glob("*.json")):
        record = json.loads(path.read_text())
        machines.add(record["machine"])
        if path.stem == "exports":
            continue  # These results have their own page.
        if columns_of(record["figures"]):
            tables += ["", *table_of_recipe(record)]
            continue
        for name, value in record["figures"].items():
            seed = "random" if record["seed"] is None else record["seed"]
            cells = (f"`{record['command']}`", name, shown(value), seed)
            lines.append(
                "| "
                + " | ".join(map(str, cells))
                + f" | {record['seconds']:.0f} | {record['backend']} |"
            )
    lines += [*tables, "", f"Machine: {'; '.join(sorted(machines))}."]
    return "\n".join(lines) + "\n"


def list_of_recipes() -> str:
    """Returns all recipes with the first line of their docstrings and their run times."""
    lines = [
        "# Recipes",
        "",
        "Generated by `python -m recipes.readme` from the first line of each recipe. A recipe is",
        "a script that runs from a clone. `--help` lists its options; most have `--limit` for a",
        "quick run on few images. Figures, goals and pictures are in",
        "[results/](results/README.md). The minutes are those of a full run on one or two CPU",
        "cores, or less if models were cached.",
        "",
        "Recipes need the extras `recipes` and `codec`. `augment`, `exports`, `serve_load` and",
        "`notebooks` also need the extras `augment`, `export`, `serve` and `notebooks`. Recipes",
        "that compare backends need all three.",
        "",
        '    pip install -e ".[tensorflow,recipes,codec]"',
        "    python -m recipes.vqvae_mnist",
        "",
        "| recipe | what it does | minutes |",
        "| --- | --- | --- |",
    ]
    for path in sorted(LIST.parent.glob("[a-z]*.py")):
        summary = ast.get_docstring(ast.parse(path.read_text())).splitlines()[0]
        summary = summary.partition(" Run:")[0]
        done = FOLDER / path.with_suffix(".json").name
        minutes = f"{results(path.stem)['seconds'] / 60:.0f}" if done.exists() else ""
        lines.append(f"| [`{path.stem}`]({path.name}) | {summary} | {minutes} |")
    return "\n".join(lines) + "\n"


def table_of_exports() -> str:
    """Returns the table of exports of the presets and the runtimes that ran them."""
    record = results("exports")
    lines = [
        "# Exports of these models",
        "",
        "Generated by `python -m recipes.readme` from `recipes/results/exports.json`. Each row",
        "lists model, format, precision, exporting backend and the runtime, which works without",
        "Keras except for `TFSMLayer`. Figures compare with the model on 512 test images; CIFAR-10",
        "comes from a JPEG copy. Pixel differences are those of `decode` for equal codes or",
        "latents. Sizes include all three functions. Latencies are medians of 20 calls of `encode`",
        "with 1 and 64 images.",
        "",
        *table_of_recipe(record),
        "",
        f"Machine: {record['machine']}.",
    ]
    return "\n".join(lines) + "\n"


def table_of_recipe(record: dict[str, Any]) -> list[str]:
    """Returns the table of a recipe whose figures are rows."""
    rows = record["figures"]
    return [heading_of_table(record), "", *table_of_rows(rows, columns_of(rows))]


def heading_of_table(record: dict[str, Any]) -> str:
    """Returns the line above a table of figures: command, seed, duration and backend."""
    made = f"`{record['command']}`, seed {record['seed']}, {record['seconds']:.0f} s"
    return f"{made}, {record['backend']}:"


def results(recipe: str) -> dict[str, dict[str, object]]:
    """Reads the results of a recipe."""
    return json.loads((FOLDER / f"{recipe}.json").read_text())


if __name__ == "__main__":
    main()
