"""Everything that must pass before a change lands: `nox` runs it all, `nox -s tests` the tests."""

import os

import nox
from nox.command import CommandFailed

# Without its compiled modules a backend takes three times as long to import, and many tests start
# processes of their own. Some machines are set up not to keep them.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = True

BACKENDS = ("tensorflow", "jax", "torch")
# All three in one environment: files are carried from each backend to the others.
# PyTorch is pinned, because the newest one draws in gigabytes of CUDA packages.
REQUIREMENTS = ("-e", ".[dev,benchmarks,tensorflow,jax,export,serve]", "torch==2.13.0")


@nox.session
def lint(session: nox.Session) -> None:
    """Style, types and which room may import which."""
    session.install(*REQUIREMENTS)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("lint-imports")


@nox.session
@nox.parametrize("backend", BACKENDS)
def tests(session: nox.Session, backend: str) -> None:
    """Tests on one backend; on TensorFlow also examples of docstrings."""
    session.install(*REQUIREMENTS)
    paths = () if backend == "tensorflow" else ("tests",)
    run_tests(session, backend, *paths)


@nox.session
def kernels(session: nox.Session) -> None:
    """The search of GPUs that Triton compiles, which can't share a process with TensorFlow."""
    session.install("-e", ".", "pytest", "torch==2.13.0", "triton")
    session.run("pytest", "tests/fused_search", *session.posargs, env={"KERAS_BACKEND": "torch"})


@nox.session(default=False)
def coverage(session: nox.Session) -> None:
    """Which lines the tests on TensorFlow run; counting them takes a quarter longer."""
    session.install(*REQUIREMENTS)
    session.run("coverage", "erase")
    run_tests(session, "tensorflow", "--cov", "--cov-report=")
    session.run("coverage", "report", "--skip-covered", "--fail-under=90")


@nox.session(default=False)
def fuzz(session: nox.Session) -> None:
    """Reads mutated files and requests; `nox -s fuzz -- --target kvq --cases 100000`."""
    session.install(*REQUIREMENTS)
    session.run("python", "-m", "tests.fuzz", *session.posargs, env={"KERAS_BACKEND": "tensorflow"})


def flags_of_xla(session: nox.Session, backend: str) -> str:
    """Flags with which XLA compiles small functions fast: on JAX most of the time goes there.

    XLA ends a process with a flag that it does not know, so the newer one is tried first.
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
    """Runs pytest in as many processes as CI has cores."""
    session.run(
        "pytest",
        *("--numprocesses=2", "--dist=worksteal", "--durations=20", *arguments),
        *session.posargs,
        env={
            "KERAS_BACKEND": backend,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "KERAS_VQ_ALL_TESTS": "1",  # a missing package fails them
            # The tests run in as many processes as there are cores, whose threads would else wait
            # for each other: scikit-learn's fits then take five times as long.
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "TF_NUM_INTRAOP_THREADS": "1",
            "XLA_FLAGS": flags_of_xla(session, backend),
            # What was compiled before, for another test or in another run, is taken from files.
            "JAX_COMPILATION_CACHE_DIR": str((session.cache_dir / "jax").resolve()),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        },
    )
