"""Tests of `keras-vq serve`: responses equal model outputs, and invalid requests are rejected."""

import asyncio
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pytest

from keras_vq_cli import server as application
from keras_vq_cli.commands import serve
from tests.models.cases import MODEL_CASES
from tests.needed import needed
from tests.poison import imported, poison

needed("mlserver", "onnxruntime", "onnx", "tf2onnx")

pytestmark = pytest.mark.backend_free

# Enable SIGINT, which shells ignore in background processes.
START = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from keras_vq_cli.main import main; sys.exit(main(sys.argv[1:]))"
)
MEGABYTES = 1
NAME = "tiny"
JSON = {"Content-Type": "application/json"}


class Server(NamedTuple):
    process: subprocess.Popen
    address: str
    log: Path

    def ask(self, path, body=None, headers=JSON):
        """Sends a request and returns the status and the JSON value of the response."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read() or "null")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def infer(self, body, headers=JSON):
        return self.ask(f"/v2/models/{NAME}/infer", body, headers)

    def array(self, values, signature=None, **changes):
        """Sends a valid request and returns the name and the array of the output."""
        status, answer = self.infer(request_of(values, signature, **changes))
        assert status == 200, answer
        (output,) = answer["outputs"]
        dtype = {"FP32": "float32", "INT32": "int32"}[output["datatype"]]
        return output["name"], np.array(output["data"], dtype).reshape(output["shape"])

    def connection(self):
        return http.client.HTTPConnection(self.address.removeprefix("http://"), timeout=60)


def request_of(values, signature=None, **changes):
    values = np.asarray(values)
    is_image = values.dtype == "float32"
    tensor = {
        "name": "inputs" if is_image else "codes",
        "datatype": "FP32" if is_image else "INT32",
        "shape": list(values.shape),
        "data": values.ravel().tolist(),
    }
    request = {"inputs": [{**tensor, **changes}]}
    if signature is not None:
        request["parameters"] = {"signature": signature}
    return request


@contextlib.contextmanager
def started(folder, log, *options, before="", **popen):
    command = [sys.executable, "-P", "-c", before + START, "serve", str(folder), "--port", "0"]
    poison(log.parent)
    with open(log, "w") as file:
        process = subprocess.Popen(
            [*command, *options],
            cwd=log.parent,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=file,
            stderr=file,
            **popen,
        )
    try:
        deadline = time.monotonic() + 120
        while "Example request" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        server = Server(process, re.search(r"http://[\d.]+:\d+", log.read_text())[0], log)
        assert server.ask("/v2/health/ready") == (200, None)
        yield server
        assert imported(log.parent) == []
    finally:
        process.kill()
        process.wait()


def check_that_a_signal_ends(server, sent, code):
    server.process.send_signal(sent)
    assert server.process.wait(30) == code
    assert server.log.read_text().endswith("Stopped.\n")
    assert "Traceback" not in server.log.read_text()


@pytest.fixture(scope="module")
def model(digits):
    keras.utils.set_random_seed(0)
    model = next(case for case in MODEL_CASES if case.id == "vqvae_ema").build()
    model.compile("adam")
    model.fit(digits[:256], batch_size=32, verbose=0)
    return model


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports") / "onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from packages of the converter
        return model.export(folder, format="onnx")


@pytest.fixture(scope="module")
def server(folder, tmp_path_factory):
    log = tmp_path_factory.mktemp("log") / "log.txt"
    with started(folder, log, "--name", NAME, "--max-megabytes", str(MEGABYTES)) as server:
        yield server


@pytest.fixture(scope="module")
def images(digits):
    return digits[-64:]


@pytest.fixture(scope="module")
def codes(model, images):
    return model.encode(images)


class TestAnswers:
    def test_encode_gives_the_codes_of_the_model(self, server, images, codes):
        assert len(np.unique(codes)) > 4
        name, answer = server.array(images, "encode")
        assert name == "codes"
        assert answer.dtype == "int32"
        np.testing.assert_array_equal(answer, codes)

    @pytest.mark.parametrize("datatype", ["INT32", "INT64"])
    def test_decode(self, server, model, codes, datatype):
        name, answer = server.array(codes, "decode", datatype=datatype)
        assert name == "reconstruction"
        np.testing.assert_allclose(answer, model.decode(codes), atol=1e-5)

    @pytest.mark.parametrize("signature", [None, "serving_default", "reconstruct"])
    def test_reconstruct(self, server, model, images, signature):
        name, answer = server.array(images[:5], signature)
        assert name == "reconstruction"
        np.testing.assert_allclose(answer, model.reconstruct(images[:5]), atol=1e-5)

    @pytest.mark.parametrize("count", [1, 3])
    def test_data_may_be_nested_as_the_shape(self, server, images, codes, count):
        nested = images[:count].tolist()
        np.testing.assert_array_equal(
            server.array(images[:count], "encode", data=nested)[1], codes[:count]
        )

    @pytest.mark.parametrize("value", [0, 1, 1.0000000001])
    def test_whole_numbers_are_pixels_too_and_rounding_is_forgiven(self, server, value):
        constant = np.zeros((1, 8, 8, 1), "float32")
        server.array(constant, data=[value] * 64)

    def test_no_images_have_no_answers(self, server):
        _, answer = server.array(np.zeros((0, 8, 8, 1), "float32"), "encode")
        assert answer.shape == (0, 4, 4)
        _, answer = server.array(np.zeros((0, 4, 4), "int32"), "decode")
        assert answer.shape == (0, 8, 8, 1)

    def test_id_and_output_are_those_of_the_request(self, server, images):
        request = {
            **request_of(images[:1], "encode"),
            "id": "seven",
            "outputs": [{"name": "codes"}],
        }
        status, answer = server.infer(request)
        assert status == 200
        assert answer["id"] == "seven"
        assert answer["model_name"] == NAME

    def test_clients_at_once_get_their_own_answers(self, server, images, codes):
        def wrong(i):
            return not np.array_equal(server.array(images[i : i + 1], "encode")[1][0], codes[i])

        with ThreadPoolExecutor(8) as clients:
            assert sum(clients.map(wrong, range(64))) == 0

    def test_the_printed_example_works(self, server, model):
        if not shutil.which("bash") or not shutil.which("curl"):
            pytest.skip("needs bash and curl")
        example = server.log.read_text().splitlines()[-1]
        done = subprocess.run(["bash", "-c", example], capture_output=True, text=True, check=True)
        zeros = model.encode(np.zeros((1, 8, 8, 1), "float32"))
        assert json.loads(done.stdout)["outputs"][0]["data"] == zeros.ravel().tolist()


class TestDescriptions:
    @pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready"])
    def test_health(self, server, path):
        assert server.ask(path) == (200, None)
        assert server.ask(f"/v2/models/{NAME}/ready") == (200, None)

    def test_the_server(self, server):
        assert server.ask("/v2")[1]["name"] == "keras-vq"

    def test_the_model(self, server):
        status, metadata = server.ask(f"/v2/models/{NAME}")
        assert status == 200
        assert metadata["name"] == NAME
        rows = {
            kind: {
                tensor["parameters"]["signature"]: (
                    tensor["name"],
                    tensor["datatype"],
                    tensor["shape"],
                )
                for tensor in metadata[kind]
            }
            for kind in ("inputs", "outputs")
        }
        given, codes = ("inputs", "FP32", [-1, 8, 8, 1]), ("codes", "INT32", [-1, 4, 4])
        assert rows["inputs"] == {"serving_default": given, "encode": given, "decode": codes}
        made = ("reconstruction", *given[1:])
        assert rows["outputs"] == {"serving_default": made, "encode": codes, "decode": made}
        assert metadata["inputs"][0]["parameters"]["signature"] == "serving_default"


IMAGE = np.zeros((1, 8, 8, 1), "float32")
CODES = np.zeros((1, 4, 4), "int32")
GOOD = request_of(IMAGE, "encode")


def image(**changes):
    return request_of(IMAGE, "encode", **changes)


def codes_of(value, **changes):
    return request_of(CODES, "decode", data=[0] * 15 + [value], **changes)


# Request body, and part of the error message.
BAD = {
    "wrong size": (image(shape=[1, 4, 16, 1]), "must be [n, 8, 8, 1]"),
    "wrong rank": (image(shape=[8, 8, 1]), "must be [n, 8, 8, 1]"),
    "no shape": (image(shape=[]), "must be [n, 8, 8, 1]"),
    "negative batch": (image(shape=[-1, 8, 8, 1]), "must be [n, 8, 8, 1]"),
    "negative size": (image(shape=[1, -8, -8, 1]), "must be [n, 8, 8, 1]"),
    "shape of text": (image(shape=["many"]), '"inputs.0.shape.0"'),
    "shape with a huge size": (image(shape=[10**30, 8, 8, 1]), "shape"),
    "more images than data": (image(shape=[2, 8, 8, 1]), "128 values"),
    "many more images than data": (image(shape=[600, 8, 8, 1]), "38,400 values"),
    "less data": (image(data=[0.0] * 63), "Received: 63"),
    "no data": (image(data=[]), "Received: 0"),
    "data for no images": (image(shape=[0, 8, 8, 1]), "0 values"),
    "data nested otherwise": (
        image(data=IMAGE.reshape(1, 64).tolist()),
        "nested lists of another shape",
    ),
    "ragged data": (image(data=[[[[0.0]] * 8] * 7 + [[[0.0]]]]), "nested lists of another shape"),
    "data that is no list": (image(data={"a": 1}), "an object"),
    "data null": (image(data=None), "null"),
    "pixels of text": (image(data=["0.5"] * 64), "a string"),
    "one pixel of text": (image(data=[0.0] * 63 + ["x" * 1000]), "a string"),
    "pixels true": (image(data=[True] * 64), "true or false"),
    "pixels null": (image(data=[None] * 64), "null"),
    "a list among pixels": (image(data=[0.0] * 63 + [[0.0]]), "a list"),
    "pixel too bright": (image(data=[0.0] * 63 + [255]), "from 0.0 to 1.0. Received: 255"),
    "pixel below 0": (image(data=[0.0] * 63 + [-0.01]), "Received: -0.01"),
    "pixel NaN": (image(data=[0.0] * 63 + [float("nan")]), "must be JSON"),
    "pixel infinite": (image(data=[0.0] * 63 + [float("inf")]), "must be JSON"),
    "pixel 1e400": (json.dumps(GOOD).replace("0.0", "1e400", 1).encode(), "must be JSON"),
    "pixel beyond float32": (image(data=[0.0] * 63 + [1e39]), "Received: 1e+39"),
    "pixel of 40 digits": (image(data=[0.0] * 63 + [10**40]), "Received: 1e+40"),
    "wrong datatype": (image(datatype="UINT8"), "must be FP32. Received: 'UINT8'"),
    "datatype of more bits": (image(datatype="FP64"), "must be FP32"),
    "unknown datatype": (image(datatype="float32"), '"inputs.0.datatype"'),
    "wrong name": (image(name="pixels"), "must be 'inputs'. Received: 'pixels'"),
    "long name": (image(name="x" * 100_000), "must be 'inputs'"),
    "output of another name": ({**GOOD, "outputs": [{"name": "inputs"}]}, "must be 'codes'"),
    "code too large": (codes_of(16), "from 0 to 15. Received: 16"),
    "code below 0": (codes_of(-1), "Received: -1"),
    "code of 64 bits": (codes_of(2**32, datatype="INT64"), "Received: 4294967296"),
    "code of 64 bits without a sign": (codes_of(2**64 - 1), "Received: 18446744073709551615"),
    "code of 40 digits": (codes_of(10**40), "must be integers"),
    "code with a fraction": (codes_of(1.5), "must be integers"),
    "code true": (codes_of(True), "true or false"),
    "codes as FP32": (codes_of(1, datatype="FP32"), "must be INT32 or INT64"),
    "image for decode": (request_of(IMAGE, "decode"), "must be 'codes'"),
    "unknown signature": (request_of(IMAGE, "embed"), "one of serving_default, decode, encode"),
    "signature of another type": (request_of(IMAGE, ["encode"]), "Received: ['encode']"),
    "no inputs": ({"inputs": []}, "Received: 0 inputs"),
    "inputs missing": ({}, '"inputs": Field required'),
    "inputs null": ({"inputs": None}, '"inputs"'),
    "an input that is none": ({"inputs": [1]}, '"inputs.0"'),
    "two inputs": ({"inputs": GOOD["inputs"] * 2}, "Received: 2 inputs"),
    "very many inputs": ({"inputs": [1] * 100_000}, "at most 16 entries"),
    "very long shape": (image(shape=["a"] * 100_000), "at most 16 entries"),
    "parameters of another type": ({**GOOD, "parameters": 5}, '"parameters"'),
    "id of another type": ({**GOOD, "id": 5}, '"id"'),
    "id that breaks a header": ({**GOOD, "id": "a\r\nSet-Cookie: b"}, "printable ASCII"),
    "id of other letters": ({**GOOD, "id": "零"}, "printable ASCII"),
    "empty body": (b"", "must be JSON"),
    "no JSON": (b"{", "must be JSON"),
    "no text": (b"\xff\xfe\x00", "must be JSON"),
    "JSON list": ([GOOD], "JSON object"),
    "JSON string": ("encode", "JSON object"),
    "JSON null": (b"null", "JSON object"),
    "nested deep": (b"[" * 100_000, "must be JSON"),
    "nested within the limit": (
        image(data=json.loads("[" * 900 + "]" * 900)),
        "nested lists of another shape",
    ),
}


class TestRefusals:
    @pytest.mark.parametrize("kind", BAD)
    def test_a_bad_request_is_told_why_and_the_next_one_answered(self, server, kind, images, codes):
        body, text = BAD[kind]
        status, answer = server.infer(body)
        assert status == 400, answer
        assert text in answer["error"]
        assert len(answer["error"]) < 400
        assert "\n" not in answer["error"]
        np.testing.assert_array_equal(server.array(images[:1], "encode")[1], codes[:1])
        assert "Traceback" not in server.log.read_text()

    @pytest.mark.parametrize(
        ("path", "status", "text"),
        [
            ("/v2/models/other/infer", 404, "The model must be tiny"),
            (f"/v2/models/{NAME}/versions/1/infer", 404, "Not Found"),
            (f"/v2/models/{NAME}/infer_stream", 404, "Not Found"),
            (f"/v2/repository/models/{NAME}/unload", 404, "Not Found"),
            ("/v2/repository/index", 404, "Not Found"),
            ("/nonsense%00%ff", 404, "Not Found"),
            ("/v2/health/ready", 405, "Method Not Allowed"),
        ],
    )
    def test_other_paths(self, server, path, status, text):
        found, answer = server.ask(path, GOOD)
        assert found == status
        assert text in answer["error"]
        assert server.ask("/v2/models/other") == (404, {"error": "Model other not found"})
        assert server.ask(f"/v2/models/{NAME}/ready")[0] == 200

    @pytest.mark.parametrize(
        ("headers", "text"),
        [
            ({"Content-Type": "application/octet-stream"}, "Received: application/octet-stream"),
            ({"Content-Type": "text/plain"}, "must be application/json"),
            ({}, "must be application/json"),  # urllib sets the content type of a form
            ({**JSON, "Content-Encoding": "gzip"}, "must not be compressed"),
        ],
    )
    def test_other_contents(self, server, headers, text):
        status, answer = server.infer(GOOD, headers)
        assert status == 415
        assert text in answer["error"]

    def test_a_long_body_is_refused_before_it_is_sent(self, server):
        connection = server.connection()
        connection.putrequest("POST", f"/v2/models/{NAME}/infer")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(10**12))
        connection.endheaders()
        answer = connection.getresponse()
        assert answer.status == 413
        assert "at most 1,000,000 bytes" in json.loads(answer.read())["error"]
        connection.close()

    def test_very_many_values(self, server):
        status, answer = server.infer(image(data=[0] * 130_000))
        assert status == 413
        assert "at most 125,000 values" in answer["error"]

    @pytest.mark.parametrize("megabytes", [1.01, 1.9])
    def test_a_client_that_sends_it_all_first_reads_the_refusal(self, server, megabytes):
        status, answer = server.infer(b" " * int(megabytes * 1e6))
        assert status == 413
        assert "Send fewer images" in answer["error"]

    def test_a_long_body_of_unknown_length(self, server):
        connection = server.connection()
        chunks = iter([b" " * 100_000] * 15)
        connection.request("POST", f"/v2/models/{NAME}/infer", chunks, JSON, encode_chunked=True)
        answer = connection.getresponse()
        assert answer.status == 413
        assert "Received: more" in json.loads(answer.read())["error"]
        connection.close()

    def test_a_long_answer_is_refused_before_it_is_made(self, server):
        status, answer = server.infer(request_of(np.zeros((700, 4, 4), "int32"), "decode"))
        assert status == 413
        assert "batch size of at most 651" in answer["error"]
        server.array(np.zeros((651, 4, 4), "int32"), "decode")

    def test_a_client_that_gives_up(self, server):
        host, port = server.address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as client:
            head = f"POST /v2/models/{NAME}/infer HTTP/1.1\r\nHost: {host}\r\n"
            client.sendall(f"{head}Content-Type: application/json\r\n".encode())
            client.sendall(b"Content-Length: 1000\r\n\r\n{")
        server.array(IMAGE)
        assert "Traceback" not in server.log.read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="limits of descriptors")
class TestConnections:
    HEAD = f"POST /v2/models/{NAME}/infer HTTP/1.1\r\nHost: a\r\n"
    BODY = f"{HEAD}Content-Type: application/json\r\nContent-Length: 900\r\n\r\n{{"

    @pytest.mark.parametrize(
        ("loop", "before"),
        [("default", ""), ("asyncio", "import sys; sys.modules['uvloop'] = None; ")],
    )
    def test_clients_that_send_nothing_or_half_a_request(self, folder, tmp_path, loop, before):
        """Opens more connections than the server has file descriptors."""
        import resource

        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))

        log = tmp_path / "log.txt"
        options = ("--name", NAME)
        with (
            started(folder, log, *options, before=before, preexec_fn=limit) as server,
            contextlib.ExitStack() as clients,
        ):
            host, port = server.address.removeprefix("http://").split(":")
            for sent in ("", self.HEAD, self.BODY):
                for _ in range(200):
                    client = clients.enter_context(socket.create_connection((host, int(port))))
                    with contextlib.suppress(ConnectionError):  # already closed
                        client.sendall(sent.encode())
                for _ in range(5):
                    assert server.ask("/v2/health/ready") == (200, None)
                server.array(IMAGE)
            assert "Traceback" not in server.log.read_text()
            clients.close()
            check_that_a_signal_ends(server, signal.SIGINT, 130)

    def test_a_head_that_does_not_end(self, folder, tmp_path):
        log = tmp_path / "log.txt"
        before = "import keras_vq_cli.server as s; s._HEAD_SECONDS = 0.5; "
        with started(folder, log, before=before) as server:
            host, port = server.address.removeprefix("http://").split(":")
            for sent in ("", self.HEAD):
                with socket.create_connection((host, int(port)), timeout=30) as client:
                    client.sendall(sent.encode())
                    with contextlib.suppress(ConnectionError):
                        assert client.recv(100) == b""
            # A second request of a persistent connection.
            connection = server.connection()
            connection.request("GET", "/v2/health/ready")
            assert connection.getresponse().read() == b""
            connection.sock.sendall(self.HEAD.encode())
            with contextlib.suppress(ConnectionError):
                assert connection.sock.recv(100) == b""
            connection.close()
            # A complete head; the body may take longer.
            with socket.create_connection((host, int(port)), timeout=30) as client:
                # Default name: that of the folder.
                client.sendall(self.BODY.replace(NAME, "onnx").encode())
                time.sleep(1)
                client.sendall(b" " * 899)
                assert client.recv(12) == b"HTTP/1.1 400"
            assert server.ask("/v2/models/onnx/infer", GOOD)[0] == 200
            check_that_a_signal_ends(server, signal.SIGTERM, 0)


class TestStart:
    def test_help_loads_nothing_slow(self, environment):
        command = [sys.executable, "-X", "importtime", "-m", "keras_vq_cli", "serve", "--help"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert not imported & {"keras", "keras_vq", "mlserver", "numpy", "onnxruntime", "rich"}
        text = " ".join(done.stdout.split())
        for option in ("--port", "--host", "--name", "--max-megabytes"):
            assert option in text

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            (["nowhere"], "Received: nowhere, which does not exist"),
            (["empty"], "must contain .onnx files"),
            (["file.onnx"], "Received: the file file.onnx"),
            (["codec", "--name", "a/b"], "--name must consist"),
            (["codec", "--name", ""], "--name must consist"),
            (["codec", "--port", "70000"], "70000 is not in the range 0<=x<=65535"),
            (["codec", "--port", "http"], "'http' is not a valid integer"),
            (["codec", "--max-megabytes", "0"], "0 is not in the range x>=1"),
            (
                ["codec", "--host", "nowhere.invalid"],
                "Cannot listen on port 8080 of nowhere.invalid",
            ),
            ([], "PATH"),
        ],
    )
    def test_mistakes(self, run, tmp_path, args, message):
        (tmp_path / "empty").mkdir()
        (tmp_path / "codec").mkdir()
        for path in (tmp_path / "codec" / "encode.onnx", tmp_path / "file.onnx"):
            path.write_bytes(b"")
        result = run("serve", *args)
        assert result.code == 2
        assert message in result.err

    def test_a_busy_port(self, run, folder):
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            result = run("serve", folder, "--port", port)
        assert result.code == 2
        assert f"port {port} of 127.0.0.1: the port is in use" in result.err

    def test_missing_packages(self, run, folder, monkeypatch):
        monkeypatch.setattr(serve, "find_spec", lambda name: None)
        result = run("serve", folder)
        assert result.code == 2
        assert 'mlserver and onnxruntime. Install with: pip install "keras-vq[serve]"' in (
            result.err
        )

    @pytest.mark.parametrize("kind", ["broken", "bounds"])
    def test_a_file_that_is_not_an_export(self, environment, folder, tmp_path, kind):
        import onnx

        if kind == "broken":
            (tmp_path / "encode.onnx").write_bytes(b"no protobuf")
        else:
            file = onnx.load(folder / "decode.onnx")
            onnx.helper.set_model_props(file, {"keras_vq.bounds": "[1]"})
            onnx.save(file, tmp_path / "decode.onnx")
        done = subprocess.run(
            [sys.executable, "-m", "keras_vq_cli", "serve", str(tmp_path), "--port", "0"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        message = {
            "broken": "onnxruntime failed to load",
            "bounds": "keras_vq.bounds of an exported",
        }
        assert f"Error: {message[kind]}" in done.stderr
        assert "Traceback" not in done.stderr

    @pytest.mark.parametrize(
        ("folder", "name"),
        [("my codec (v2)", "my-codec-v2"), ("…", "model"), ("a.b_c-1", "a.b_c-1")],
    )
    def test_a_folder_gives_the_model_its_name(self, tmp_path, folder, name):
        assert serve._model_name(None, tmp_path / folder) == name


class TestInference:
    """Tests of timeouts, which would take too long with a real server."""

    def answers(self, receive):
        sent = []

        async def send(message):
            sent.append(message)

        scope = {
            "path_params": {"model_name": "tiny"},
            "headers": [(b"content-type", b"application/json")],
        }
        asyncio.run(application.Inference(None, "tiny", 1000)(scope, receive, send))
        return sent[0]["status"], json.loads(b"".join(m.get("body", b"") for m in sent))["error"]

    def test_a_client_that_falls_silent(self, monkeypatch):
        monkeypatch.setattr(application, "_SILENT_SECONDS", 0.01)
        monkeypatch.setattr(application, "_PATIENCE_SECONDS", 0.01)

        async def receive():
            await asyncio.sleep(60)

        assert self.answers(receive)[0] == 408

    def test_a_server_that_stops_meanwhile(self):
        async def receive():
            raise asyncio.CancelledError

        assert self.answers(receive) == (503, "The server is shutting down")
