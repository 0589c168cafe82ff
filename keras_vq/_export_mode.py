"""Switch of the export mode, in which graphs are traced without loops."""

import contextlib
import threading
from collections.abc import Iterator


class _Tracing(threading.local):
    """Thread-local tracing options (torch.compile does not support ContextVar)."""

    export_mode = False
    by_rank = False


_TRACING = _Tracing()


@contextlib.contextmanager
def export_mode(by_rank: bool = False) -> Iterator[None]:
    """Disables blockwise search in the functions traced inside, so that graphs have no loops.

    The results are the same. Used for export: batches are small and their size is unknown at trace
    time, so that a single image would be padded to a whole block.

    Args:
        by_rank: Boolean. Whether an argmax is computed by top-k instead of by comparison with the
            maximum. Conversion to int8 may give the maximum another scale, so that no value equals
            it. Defaults to `False`.
    """
    before = _TRACING.export_mode, _TRACING.by_rank
    _TRACING.export_mode, _TRACING.by_rank = True, by_rank
    try:
        yield
    finally:
        _TRACING.export_mode, _TRACING.by_rank = before


def is_traced_for_export() -> bool:
    """Returns whether the code is traced inside `export_mode`, where graphs should be small."""
    return _TRACING.export_mode


def ranks_for_argmax() -> bool:
    """Returns whether an argmax is computed by top-k; see `export_mode`."""
    return _TRACING.by_rank
