"""Load test of `keras-vq serve` with a VQ-VAE on MNIST.

Exports the preset `vqvae_mnist` (or a model from a file) as ONNX and starts the server in a
separate process. Measures agreement of the codes of 512 test images with the model, the latency of
sequential requests, and the throughput of 8 concurrent clients with one image per request, checking
every response. Clients run in this process, on the same cores as the server, and send pre-encoded
JSON.

Run: python -m recipes.serve_load [--model FILE.keras] [--seconds 30]
"""

import argparse
import http.client
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import keras_vq
from recipes.common import Stopwatch, save

SEED = 0
IMAGES = 512
CLIENTS = 8
# Number of timed requests by batch size.
REQUESTS = {1: 500, 32: 200}
NAME = "mnist"


class Server:
    """Server process and its address."""

    def __init__(self, folder: Path) -> None:
        stopwatch = Stopwatch()
        command = [sys.executable, "-m", "keras_vq_cli", "serve", str(folder)]
        self.process = subprocess.Popen(
            [*command, "--name", NAME, "--port", "0"], stderr=subprocess.PIPE, text=True
        )
        lines = []
        for line in self.process.stderr:
            lines.append(line)
            if "http://" in line:
                break
        else:
            raise RuntimeError("".join(lines))
        self.address = lines[-1].partition("http://")[2].split()[0]
        connection = self.connection()
        connection.request("GET", "/v2/health/ready")
        assert connection.getresponse().status == 200
        self.seconds_to_start = stopwatch.seconds()

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.address, timeout=60)

    def mebibytes(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    server = Server(folder)
    try:
        yield server
    finally:
        server.process.terminate()
        assert server.process.wait(30) == 0
        server.process.stderr.close()


def request_for(images: np.ndarray) -> str:
    tensor = {
        "name": "inputs",
        "datatype": "FP32",
        "shape": list(images.shape),
        "data": images.ravel().tolist(),
    }
    return json.dumps({"parameters": {"signature": "encode"}, "inputs": [tensor]})


def ask(connection: http.client.HTTPConnection, body: str) -> np.ndarray:
    """Sends a request and returns the codes."""
    headers = {"Content-Type": "application/json"}
    connection.request("POST", f"/v2/models/{NAME}/infer", body, headers)
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise RuntimeError(content.decode())
    (output,) = json.loads(content)["outputs"]
    return np.reshape(output["data"], output["shape"])


def milliseconds(server: Server, images: np.ndarray, batch: int, count: int) -> list[float]:
    """Measures the latency of sequential requests in milliseconds."""
    bodies = [request_for(images[i : i + batch]) for i in range(0, len(images), batch)]
    connection = server.connection()
    taken = []
    for i in range(-5, count):  # Negative indices are warm-up requests.
        started = time.perf_counter()
        ask(connection, bodies[i % len(bodies)])
        if i >= 0:
            taken.append(1000 * (time.perf_counter() - started))
    return taken


def load(server: Server, images: np.ndarray, codes: np.ndarray, seconds: float) -> dict[str, list]:
    """Runs concurrent clients; returns latencies of correct responses, and errors."""
    bodies = [request_for(image[None]) for image in images]
    seen: dict[str, list] = {"milliseconds": [], "wrong": [], "errors": []}
    end = time.perf_counter() + seconds

    def client(seed: int) -> None:
        draw = random.Random(seed)
        connection = server.connection()
        while (started := time.perf_counter()) < end:
            place = draw.randrange(len(bodies))
            try:
                is_right = np.array_equal(ask(connection, bodies[place])[0], codes[place])
            except (OSError, http.client.HTTPException, RuntimeError) as error:
                seen["errors"].append(error)
                connection.close()  # The next request reconnects.
                continue
            key = "milliseconds" if is_right else "wrong"
            seen[key].append(1000 * (time.perf_counter() - started))

    clients = [threading.Thread(target=client, args=(seed,)) for seed in range(CLIENTS)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model", metavar="FILE", help="a .keras file of a VQ-VAE (default: vqvae_mnist)"
    )
    parser.add_argument("--seconds", type=float, default=30, help="how long 8 clients ask")
    arguments = parser.parse_args()
    stopwatch = Stopwatch()

    model = (
        keras_vq.load_model(arguments.model)
        if arguments.model
        else keras_vq.VQVAE.from_preset("vqvae_mnist")
    )
    images = keras_vq.data.load("mnist", f"test[:{IMAGES}]").images
    codes = model.encode(images)
    with tempfile.TemporaryDirectory() as folder:
        export = model.export(Path(folder, "onnx"), format="onnx")
        with serving(export) as server:
            figures: dict[str, object] = {"seconds until ready": server.seconds_to_start}
            figures["server's memory when ready, MiB"] = round(server.mebibytes())
            print(f"Asking for the codes of {len(images)} images ...", flush=True)
            answer = ask(server.connection(), request_for(images))
            figures["codes that agree with the model's"] = float(np.mean(answer == codes))
            figures["images whose codes all agree"] = int((answer == codes).all((1, 2)).sum())
            for batch, count in REQUESTS.items():
                taken = milliseconds(server, images, batch, count)
                figures |= percentiles(f"encode, batch {batch}", taken)
            print(f"{CLIENTS} clients for {arguments.seconds:g} seconds ...", flush=True)
            seen = load(server, images, codes, arguments.seconds)
            count = len(seen["milliseconds"])
            figures[f"{CLIENTS} clients: right answers"] = count
            figures[f"{CLIENTS} clients: wrong answers"] = len(seen["wrong"])
            figures[f"{CLIENTS} clients: errors"] = len(seen["errors"])
            figures[f"{CLIENTS} clients: responses per second"] = round(count / arguments.seconds)
            figures |= percentiles(f"{CLIENTS} clients, batch 1", seen["milliseconds"])
            figures["server's memory at the end, MiB"] = round(server.mebibytes())
    save("serve_load", figures, SEED, stopwatch)


def percentiles(what: str, taken: list[float]) -> dict[str, float]:
    return {f"{what}: p{p}, ms": round(float(np.percentile(taken, p)), 2) for p in (50, 99)}


if __name__ == "__main__":
    main()
