"""TensorBoard summaries without TensorFlow."""

import time
from typing import Any

from keras_vq.plots._figure import as_png


def write_figure(log_dir: str, tag: str, figure: Any, step: int) -> None:
    """Writes a figure as an image summary.

    Args:
        log_dir: String. Log directory, created if it does not exist.
        tag: String. Tag of the summary.
        figure: Matplotlib figure.
        step: Integer. Step of the summary.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    width, height = (int(pixels) for pixels in figure.get_size_inches() * figure.dpi)
    image = Summary.Image(
        height=height, width=width, colorspace=4, encoded_image_string=as_png(figure)
    )
    summary = Summary(value=[Summary.Value(tag=tag, image=image)])
    # One file per figure, so that no file stays open when `fit` is interrupted.
    writer = EventFileWriter(log_dir, filename_suffix=f".{tag}.{step}")
    writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))
    writer.close()
