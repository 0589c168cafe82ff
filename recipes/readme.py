"""Writes the generated parts of the README: example, output, figures; and the recipe pages.

The example is `recipes/quickstart.py`. Figures come from `recipes/results/*.json`, which the other
recipes write.

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
from recipes._results import FOLDER, Stopwatch, columns_of, save, shown, table_of_rows

README = Path(__file__).parents[1] / "README.md"
EXPORTS = README.parent / "saved_models" / "EXPORTS.md"
LIST = Path(__file__).with_name("README.md")
QUICKSTART = Path(__file__).with_name("quickstart.py")
LITERT = "ai-edge-litert, no TensorFlow"
# Figures of the README: recipe, figure (or table row and column), description.
HIGHLIGHTS: list[tuple[str, str | tuple[str, str], str]] = [
    (
        "vqvae_mnist",
        ("restart, decay 0.95", "test MSE"),
        "VQ-VAE, keras.io's network, 128 codes, 3 epochs: test MSE",
    ),
    ("vqvae_mnist", ("restart, decay 0.95", "perplexity"), "its perplexity over the test set"),
    (
        "vqvae_mnist",
        ("no restart, decay 0.99", "perplexity"),
        "the same without restarts, at the usual decay: perplexity",
    ),
    (
        "compare_models",
        ("mnist: VQ-VAE", "test MSE"),
        "VQ-VAE of 7 x 7 codes of 8 bits, 4 epochs, beside an autoencoder and a VAE: test MSE",
    ),
    (
        "compare_models",
        ("mnist: autoencoder", "test MSE"),
        "the autoencoder of the same convolutions, 16 numbers of 32 bits",
    ),
    (
        "image_analysis",
        ("mnist: VQ-VAE's quantized latents", "linear probe, %"),
        "logistic regression on that VQ-VAE's quantized latents, test accuracy, %",
    ),
    (
        "image_analysis",
        ("mnist: pixels", "linear probe, %"),
        "the same on pixels",
    ),
    (
        "vqvae_cifar10",
        ("Sonnet's", "error over variance"),
        "CIFAR-10, network and settings of Sonnet's notebook, 10,000 steps: error over variance "
        "(its log: 0.056)",
    ),
    (
        "vqvae_cifar10",
        ("Sonnet's", "perplexity a batch"),
        "its perplexity a batch (its log: 326)",
    ),
    (
        "denoise",
        ("cifar10: VQ-VAE", "PSNR, dB"),
        "CIFAR-10, noise taken off through codes: PSNR, dB",
    ),
    (
        "denoise",
        ("cifar10: Gaussian blur", "PSNR, dB"),
        "the same by the best of three classical methods",
    ),
    (
        "super_resolution",
        ("cifar10: VQ-VAE", "PSNR, dB"),
        "CIFAR-10 at twice the resolution through codes: PSNR, dB",
    ),
    (
        "super_resolution",
        ("cifar10: Lanczos", "PSNR, dB"),
        "the same by Lanczos interpolation",
    ),
    ("autoencoder_mnist", "test MSE", "autoencoder, 16 latents, 3 epochs: test MSE"),
    ("vae_mnist", "test ELBO (nats)", "VAE, 16 latents, 10 epochs: test ELBO, nats"),
    (
        "latent_space_mnist",
        ("VAE, mixture of 10 Gaussians", "clear digits, %"),
        "its digits from a mixture of 10 Gaussians that a classifier knows with more than 0.9, %",
    ),
    (
        "latent_space_mnist",
        ("VAE, standard normal", "clear digits, %"),
        "the same from the standard normal distribution",
    ),
    (
        "generate_mnist",
        ("PixelCNN", "validation nats a code"),
        "PixelCNN of 1.0 M parameters on 7 x 7 codes of a VQ-VAE of 128, keras.io's setting: nats "
        "a code of test images",
    ),
    (
        "generate_mnist",
        ("transformer", "validation nats a code"),
        "transformer of 0.8 M parameters on the same codes",
    ),
    (
        "generate_mnist",
        ("PixelCNN", "times as fast as the naive loop"),
        "how many times as fast the PixelCNN draws as without what it keeps",
    ),
    (
        "generate_mnist",
        ("transformer, by label", "labelled as asked, %"),
        "digits of a label that a classifier (99.3 % on real ones) takes for it, %",
    ),
    (
        "generate_mnist",
        ("transformer, by label", "Fréchet distance on our mnist classifier"),
        "their Fréchet distance on that classifier's features, 10,000 digits",
    ),
    (
        "generate_mnist",
        ("VAE, standard normal", "Fréchet distance on our mnist classifier"),
        "the same of digits of the VAE",
    ),
    (
        "generate_cifar10",
        ("transformer, by label", "bits a dimension, of the codes alone"),
        "CIFAR-10, 8 x 8 codes of 512, transformer by label: bits a dimension of the codes alone",
    ),
    (
        "backends_agree",
        "largest difference of a step, jax",
        "200 steps, JAX beside TensorFlow: largest relative difference in loss",
    ),
    (
        "backends_agree",
        "largest difference of a step, torch",
        "200 steps, PyTorch beside TensorFlow: largest relative difference in loss",
    ),
    (
        "compare_quantizers",
        ("gradient, 12 bits", "test MSE"),
        "CIFAR-10, 1,000 steps, 4,096 codes that learn by gradient: test MSE",
    ),
    (
        "compare_quantizers",
        ("moving averages, restarts, 12 bits", "test MSE"),
        "the same with moving averages and restarts, all codes in use",
    ),
    (
        "compare_quantizers",
        ("the same, cosine in 8 dimensions, 12 bits", "test MSE"),
        "the same, compared by angle in 8 dimensions",
    ),
    (
        "compare_quantizers_gradient",
        ("gradient, 9 bits", "usage, %"),
        "512 codes that learn by gradient, 8,000 steps: codes in use, %",
    ),
    (
        "large_codebook",
        "tensorflow, ema: peak over codebook + inputs + block",
        "memory of a step with 65,536 codes of 64 numbers, over codebook + inputs + one block",
    ),
    (
        "exports",
        ("vqvae_cifar10, litert, int8_dynamic, from tensorflow: " + LITERT, "codes agree, %"),
        "CIFAR-10 model as LiteRT file, its convolutions in int8: codes that agree, %",
    ),
    (
        "serve_load",
        "8 clients: answers a second",
        "keras-vq serve, MNIST, 8 clients at once: encodings a second",
    ),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run-quickstart", action="store_true", help="run the example anew first")
    if parser.parse_args().run_quickstart:
        run_quickstart()
    README.write_text(filled(README.read_text()))
    (FOLDER / "README.md").write_text(table_of_results())
    LIST.write_text(list_of_recipes())
    EXPORTS.write_text(table_of_exports())


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


def filled(readme: str) -> str:
    """Returns the README with up-to-date generated parts."""
    code = QUICKSTART.read_text().partition('"""\n\n')[2]
    parts = {
        "example": f"```python\n{code}```",
        "output": f"```\n{results('quickstart')['figures']['last line']}\n```",
        "figures": highlights(),
    }
    for name, text in parts.items():
        between = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- end of {name} -->)", re.DOTALL)
        readme = between.sub(lambda match, text=text: match[1] + text + match[2], readme)
    return readme


def highlights() -> str:
    """Returns the table of figures of the README."""
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
        "Written by `python -m recipes.readme` from the files beside this one, each of which a",
        "command wrote. MSE: mean squared error of pixels in [0, 1]. Pictures lie here too.",
        "CIFAR-10 was read from a copy whose pixels went through JPEG (variance 0.0627, of the",
        "official ones 0.0633): its figures are not a paper's to the last digit.",
        "",
        *table_of_goals(GOALS, FOLDER, "python -m recipes."),
        "",
        "## All of them",
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
        "Written by `python -m recipes.readme` from the recipes' own first lines. Each is a script",
        "to read from top to bottom and to run from a clone; `--help` says what it takes, and most",
        "have `--limit` for a quick look at few images. Figures and pictures are in",
        "[results/](results/README.md), with what was to be reached; the minutes are those of the",
        "full run on one or two cores, less where models of an earlier run were at hand.",
        "",
        "Extras of the package that they need: `recipes` and `codec`; `augment`, `export`, `serve`",
        "and `notebooks` for what has that name; all three backends for what compares them.",
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
        "Written by `python -m recipes.readme` from `recipes/results/exports.json`. A row: model,",
        "format, precision, backend that exported, and the program that ran the file, none of",
        "which knows Keras but `TFSMLayer`. On 512 test images, beside the model itself; CIFAR-10",
        "is from a JPEG copy. Differences of pixels are those of `decode` given the same codes or",
        "latents. Sizes are of all three functions together. Latencies are medians of 20 calls of",
        "`encode` with 1 and 64 images.",
        "",
        *table_of_recipe(record),
        "",
        f"Machine: {record['machine']}.",
    ]
    return "\n".join(lines) + "\n"


def table_of_recipe(record: dict[str, Any]) -> list[str]:
    """Returns the table of a recipe whose figures are rows."""
    made = f"`{record['command']}`, seed {record['seed']}, {record['seconds']:.0f} s"
    rows = record["figures"]
    return [f"{made}, {record['backend']}:", "", *table_of_rows(rows, columns_of(rows))]


def results(recipe: str) -> dict[str, dict[str, object]]:
    """Reads the results of a recipe."""
    return json.loads((FOLDER / f"{recipe}.json").read_text())


if __name__ == "__main__":
    main()
