"""Modules in a working directory that must not be imported from there."""

NAMES = (
    *("ai_edge_litert", "google", "h5py", "jax", "json", "keras", "keras_vq", "matplotlib"),
    *("mlserver", "numpy", "onnx", "onnxruntime", "PIL", "random", "rich", "socket", "tensorflow"),
    *("tf2onnx", "torch", "uvicorn", "sitecustomize"),
)


def poison(folder):
    """Writes a module of each name, that leaves a file POISONED when it is run."""
    for name in NAMES:
        program = f"open({str(folder / 'POISONED')!r}, 'a').write({name!r} + ' ')"
        (folder / f"{name}.py").write_text(program + "\n")


def imported(folder):
    """Names of those that were imported."""
    mark = folder / "POISONED"
    return mark.read_text().split() if mark.exists() else []
