"""Tests of console output: unwrapped paths, escaped characters, closed and broken streams."""

import errno
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.backend_free

LONG = f"/a folder/{'long/' * 40}é.png"
PRINT = f"""
import sys
from rich.table import Table
from keras_vq_cli import console
console.prepare_streams()
table = Table("file", "n")
table.add_row({LONG!r}, "1")
console.result(None, table)
console.message("Read " + {LONG!r})
console.result(None, "\\udc80 Written " + {LONG!r})
for _ in range(200):  # more than the buffer of a pipe
    console.result(None, 1_000 * "x")
console.message("done")
console.flush()
"""


def printed(**options):
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    environment = {**os.environ, **options.pop("env", {})}
    return subprocess.Popen(
        [sys.executable, "-c", PRINT], text=True, encoding="utf-8", env=environment, **options
    )


@pytest.mark.parametrize("columns", ["40", "80"])
def test_a_path_is_in_one_line(columns):
    process = printed(env={"COLUMNS": columns})
    out, err = process.communicate()
    assert process.returncode == 0, err
    for text in (f" {LONG} ", f"Written {LONG}\n"):
        assert text in out
    assert f"Read {LONG}\n" in err


@pytest.mark.parametrize("variables", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}])
def test_any_character_in_any_locale(variables):
    process = printed(env=variables)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "Written /a folder/" in out
    assert "\\udc80" in out


def test_a_reader_that_goes():
    with printed() as process:
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read().endswith("done\n")
        assert process.wait() == 0


@pytest.mark.parametrize("closed", [[0], [1], [2], [0, 1, 2]])
def test_streams_that_are_closed(closed):
    """Files opened later must not receive printed text."""

    def close():
        for descriptor in closed:
            os.close(descriptor)

    process = printed(preexec_fn=close)
    process.communicate()
    assert process.returncode == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_a_full_disk_behind_standard_output(environment):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "keras_vq_cli", "--version"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr == f"Error: [Errno {errno.ENOSPC}] {os.strerror(errno.ENOSPC)}\n"


def test_commands_finish_without_a_reader(run, finished_run, tmp_path, monkeypatch):
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8), "uint8")
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    reader, writer = os.pipe()
    os.close(reader)
    model = ("--model", finished_run)
    with os.fdopen(writer, "w") as broken:
        monkeypatch.setattr(sys, "stdout", broken)
        for command in (
            ("reconstruct", finished_run, "0.png", "--out", "seen.png"),
            ("compress", "1.png", "2.png", "-o", "a.kvq", *model),
            ("decompress", "a.kvq", "-o", "seen", *model),
            ("train", "--help"),
            ("--version",),
        ):
            result = run(*command)
            assert (result.code, result.err) == (0, "")
    assert (tmp_path / "seen.png").exists()
    assert len(list((tmp_path / "seen").iterdir())) == 2
