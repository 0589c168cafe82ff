"""Checks that must pass before a change is merged: `nox` runs all, `nox -s tests` the tests."""

import os
import shutil
from pathlib import Path

import nox
from nox.command import CommandFailed

# Many tests start processes, and without bytecode caches the import of a backend takes three times
# as long.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = True

BACKENDS = ("tensorflow", "jax", "torch")
# All backends in one environment, because tests load files of each backend in the others.
# PyTorch is pinned because newer versions install gigabytes of CUDA packages.
REQUIREMENTS = ("-e", ".[dev,benchmarks,tensorflow,jax,export,serve]", "torch==2.13.0")
# Extras with a feature in `tests/features_of_extras.py`, for users of JAX.
EXTRAS = (
    *("cli", "codec", "hub", "litert", "onnx-jax", "openvino"),
    *("saved-model", "serve", "sklearn", "tensorboard"),
)

# Newest versions of the backends. PyPI has no pre-releases of PyTorch.
PRERELEASES = {
    "tensorflow": ("tensorflow",),
    "jax": ("jax", "jaxlib"),
    "torch": ("--index-url", "https://download.pytorch.org/whl/nightly/cpu", "torch"),
}

# Runs where only the wheel and one backend are installed.
USE_OF_PACKAGE = """
import numpy as np
import keras_vq

for kind in (keras_vq.VAE, keras_vq.VQVAE):
    for name in sorted(kind.presets):
        model = kind.from_preset(name)
        codes = model.encode(np.zeros((1, *model.input_shape[1:]), "float32"))
        print(keras_vq.__version__, name, codes.shape)
"""


@nox.session
def lint(session: nox.Session) -> None:
    """Checks style, types and the layering of imports."""
    session.install(*REQUIREMENTS)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("codespell")
    session.run("mypy")
    session.run("lint-imports")
    session.run("python", "docs/build_site.py")


@nox.session(default=False)
def docs(session: nox.Session) -> None:
    """Builds the site in build/site; `nox -s docs -- serve` shows it."""
    session.install("-e", ".[codec,docs,tensorflow]")
    serve = ("--serve",) if "serve" in session.posargs else ()
    session.run("python", "docs/build_site.py", *serve)


@nox.session
def package(session: nox.Session) -> None:
    """Builds wheel and source distribution, and checks them; `-- vX.Y.Z` checks the version."""
    session.install("twine", "uv")
    folder = Path("build", "dist").resolve()
    shutil.rmtree(folder, ignore_errors=True)
    session.run("uv", "build", "--quiet", "--out-dir", str(folder))
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    session.run("twine", "check", "--strict", str(wheel), str(source))
    session.run("python", "tests/check_package.py", str(wheel), str(source), *session.posargs)
    environment = folder.parent / "empty"
    session.run("uv", "venv", "--quiet", "--clear", str(environment))
    python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
    session.run("uv", "pip", "install", "--quiet", "--python", str(python), f"{wheel}[jax]")
    with session.chdir(folder):  # not the clone, which has a package of the same name
        use = (str(python), "-I", "-c", USE_OF_PACKAGE)
        session.run(*use, external=True, env={"KERAS_BACKEND": None})


@nox.session(default=False)
@nox.parametrize("extra", EXTRAS)
def extras(session: nox.Session, extra: str) -> None:
    """Runs a feature of an extra on JAX, where no other extra is installed."""
    exporter = ",onnx-jax" if extra == "openvino" else ""
    session.install(f".[jax,{extra}{exporter}]")
    environment = {"KERAS_BACKEND": "jax", "HF_HUB_OFFLINE": "1"}
    session.run("python", "tests/features_of_extras.py", extra, env=environment)


@nox.session
@nox.parametrize("backend", BACKENDS)
def tests(session: nox.Session, backend: str) -> None:
    """Runs the tests on one backend, on TensorFlow with docstring examples."""
    session.install(*REQUIREMENTS)
    paths = () if backend == "tensorflow" else ("tests",)
    run_tests(session, backend, *paths)


@nox.session
def kernels(session: nox.Session) -> None:
    """Tests the Triton search kernel, which can't share a process with TensorFlow."""
    session.install("-e", ".[sklearn]", "pytest", "torch==2.13.0", "triton")
    session.run("pytest", "tests/fused_search", *session.posargs, env={"KERAS_BACKEND": "torch"})


@nox.session(default=False)
def coverage(session: nox.Session) -> None:
    """Measures line coverage of the tests on TensorFlow, which takes 25 % longer."""
    session.install(*REQUIREMENTS)
    session.run("coverage", "erase")
    run_tests(session, "tensorflow", "--cov", "--cov-report=")
    session.run("coverage", "report", "--skip-covered", "--fail-under=90")


@nox.session(default=False)
def fuzz(session: nox.Session) -> None:
    """Runs the fuzz targets, e.g. `nox -s fuzz -- --target kvq --cases 100000`."""
    session.install(*REQUIREMENTS)
    session.run("python", "-m", "tests.fuzz", *session.posargs, env={"KERAS_BACKEND": "tensorflow"})


@nox.session(default=False)
@nox.parametrize("backend", BACKENDS)
def prerelease(session: nox.Session, backend: str) -> None:
    """Runs the tests with pre-releases of Keras and the backend, beyond the bounds in pyproject.

    Scheduled every night, so that a change is known before its release.
    """
    session.install(*REQUIREMENTS)
    session.install("--upgrade", "--prerelease=allow", "--no-deps", "keras")
    session.install("--upgrade", "--prerelease=allow", *PRERELEASES[backend])
    run_tests(session, backend, "tests")


def flags_of_xla(session: nox.Session, backend: str) -> str:
    """Returns XLA flags for fast compilation, which takes most of the time of tests on JAX.

    An unknown flag terminates the process, so the newer flag is tried in a process first.
    """
    flags = "--xla_backend_optimization_level=0"
    if backend != "jax":
        return flags
    more = f"{flags} --xla_cpu_use_fusion_emitters=false"
    try:
        session.run("python", "-c", "import jax; jax.devices()", env={"XLA_FLAGS": more})
    except CommandFailed:
        session.warn(f"JAX does not take {more}: its tests will take half as long again")
        return flags
    return more


def run_tests(session: nox.Session, backend: str, *arguments: str) -> None:
    """Runs pytest in two processes, the number of cores in CI."""
    session.run(
        "pytest",
        *("--numprocesses=2", "--dist=worksteal", "--durations=20", *arguments),
        *session.posargs,
        env={
            "KERAS_BACKEND": backend,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "KERAS_VQ_ALL_TESTS": "1",  # tests with missing packages fail instead of being skipped
            # With one process per core, more threads compete for cores: scikit-learn's fits would
            # take five times as long.
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "TF_NUM_INTRAOP_THREADS": "1",
            "XLA_FLAGS": flags_of_xla(session, backend),
            # Reuse compiled functions of other tests and earlier runs.
            "JAX_COMPILATION_CACHE_DIR": str((session.cache_dir / "jax").resolve()),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        },
    )
