"""Fuzz target of HTTP requests to a `keras-vq serve` process."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.fuzz import mutations
from tests.fuzz.targets.base import SilentlyWrong, Target

_START = "import sys; from keras_vq_cli.main import main; sys.exit(main(sys.argv[1:]))"
# Time after which a request counts as unanswered, long for complete requests on busy machines.
_PATIENCE_SECONDS = {"head": 1.0, "body": 30.0, "value": 30.0}
_ALIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
_ALLOWED = {200, 400, 404, 405, 408, 411, 413, 415, 422, 431, 503}
_VALUES = (0, -1, 2**31, 2**63, 1e300, None, True, "x", "", [], {}, [[1]], [[], 1], "9" * 400)


class Case(NamedTuple):
    """Bytes of a request, and its mutated part."""

    data: bytes
    kind: str


class RequestTarget(Target):
    """Requests to a server of a small model, whose CPU time and memory are measured."""

    cases = 100
    documented = ()

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        import keras

        import keras_vq

        keras.utils.set_random_seed(0)
        encoder, decoder = keras_vq.networks.convolutional((4, 4, 1), filters=(2,), latent_dim=2)
        model = keras_vq.VQVAE(encoder, keras_vq.VectorQuantizer(4), decoder)
        model(np.zeros((1, 4, 4, 1), "float32"))
        exported = model.export(folder / "model", format="onnx")
        self.log = folder / "log"
        command = [sys.executable, "-c", _START, "serve", str(exported), "--port", "0"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([*command, "--max-megabytes", "1"], stderr=log)
        self.port = self._port()

    def __del__(self) -> None:
        process = getattr(self, "process", None)
        if process is not None:
            process.kill()
            process.wait()

    def make(self, rng: np.random.Generator) -> Case:
        """Returns a request with a mutated value, body or head."""
        signature, name, values, datatype = (
            ("encode", "inputs", np.zeros((1, 4, 4, 1)), "FP32"),
            ("decode", "codes", np.zeros((1, 2, 2), int), "INT32"),
        )[int(rng.integers(2))]
        tensor = {"name": name, "datatype": datatype, "shape": list(values.shape)}
        body = {
            "id": "a",
            "parameters": {"signature": signature},
            "inputs": [{**tensor, "data": values.ravel().tolist()}],
        }
        kind = ("value", "body", "head")[int(rng.integers(3))]
        if kind == "value":
            place: Any = (body, body["parameters"], body["inputs"][0])[int(rng.integers(3))]
            place[list(place)[int(rng.integers(len(place)))]] = _VALUES[
                int(rng.integers(len(_VALUES)))
            ]
        content = json.dumps(body).encode()
        if kind == "body":
            content = mutations.mutate(content, rng)
        head = (
            "POST /v2/models/model/infer HTTP/1.1\r\nHost: localhost\r\n"
            "Content-Type: application/json\r\nConnection: close\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        ).encode()
        if kind == "head":
            head = mutations.mutate(head, rng)
        return Case(head + content, kind)

    def kind(self, case: Case) -> str:
        """Returns the mutated part."""
        return case.kind

    def run(self, case: Case) -> str:
        """Sends a request. After an unanswered one, the server must answer another client."""
        before, began = self._memory("VmRSS"), self._processor_seconds()
        status, body = self._ask(case.data, _PATIENCE_SECONDS[case.kind])
        if status is None:
            if case.kind != "head":
                raise SilentlyWrong("no answer to a complete request")
            status, _ = self._ask(_ALIVE, _PATIENCE_SECONDS["value"])
            if status != 200:
                raise SilentlyWrong(f"the server is not alive: {status}, {self._words()}")
            return "no answer"
        if status not in _ALLOWED:
            raise SilentlyWrong(f"status {status}: {body[:300]!r}, {self._words()}")
        if status == 200 and case.kind != "head":
            (output,) = json.loads(body)["outputs"]
            if len(output["data"]) != int(np.prod(output["shape"])):
                raise SilentlyWrong("an output whose shape is not that of its data")
        grown = (self._memory("VmRSS") - before) / 1e6
        if grown > self.megabytes:
            raise SilentlyWrong(f"the server grew by {grown:.0f} MB")
        taken = self._processor_seconds() - began
        if taken > self.seconds:
            raise SilentlyWrong(f"the server computed for {taken:.1f} s")
        return str(status)

    def _ask(self, data: bytes, patience: float) -> tuple[int | None, bytes]:
        """Returns the status and the body of the response; the status is None without one."""
        answer = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            try:
                connection.sendall(data)
                connection.settimeout(patience)
                while received := connection.recv(1 << 16):
                    answer += received
            except OSError:  # closed connection, or timeout
                pass
        found = re.match(rb"HTTP/1\.1 (\d+) ", answer)
        return (int(found[1]) if found else None), answer.partition(b"\r\n\r\n")[2]

    def _port(self) -> int:
        while self.process.poll() is None:
            found = re.search(r"http://127\.0\.0\.1:(\d+)", self.log.read_text(errors="replace"))
            if found:
                return int(found[1])
        raise RuntimeError(f"The server could not be started: {self._words()}")

    def _words(self) -> str:
        return self.log.read_text(errors="replace")[-800:]

    def _memory(self, key: str) -> int:
        path = Path(f"/proc/{self.process.pid}/status")
        if not path.exists():
            return 0
        found = re.search(rf"{key}:\s+(\d+) kB", path.read_text())
        return int(found[1]) * 1024 if found else 0

    def _processor_seconds(self) -> float:
        path = Path(f"/proc/{self.process.pid}/stat")
        if not path.exists():
            return 0.0
        # User and system time; fields follow the program name, which may contain spaces.
        fields = path.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
