"""Modules in the working directory that must not be imported."""

NAMES = (
    *("ai_edge_litert", "google", "h5py", "jax", "json", "keras", "keras_vq", "matplotlib"),
    *("mlserver", "numpy", "onnx", "onnxruntime", "PIL", "random", "rich", "socket", "tensorflow"),
    *("tf2onnx", "torch", "uvicorn", "sitecustomize"),
)


def poison(folder):
    """Writes modules that append their name to a file POISONED when they are imported."""
    for name in NAMES:
        program = f"open({str(folder / 'POISONED')!r}, 'a').write({name!r} + ' ')"
        (folder / f"{name}.py").write_text(program + "\n")


def imported(folder):
    """Returns the names of imported modules."""
    mark = folder / "POISONED"
    return mark.read_text().split() if mark.exists() else []
