"""`keras-vq serve`: an HTTP server of the Open Inference Protocol for an ONNX export.

MLServer with `onnx_runtime.OnnxRuntime` as its one model, and an endpoint of ours that reads
requests. Neither Keras nor keras_vq is imported: a server needs the exported files alone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import gc
import json
import logging
import re
import shlex
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from keras_vq_cli import arguments, console, interrupts

_DEFAULT_HOST = "127.0.0.1"
_DEFAULT_PORT = 8080
_DEFAULT_MEGABYTES = 64
_MEGABYTE = 1_000_000

# What is kept of MLServer: its other paths load and unload models, or answer in a stream.
_PATHS = (
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/{model_name}",
    "/v2/models/{model_name}/ready",
)
# Values as short as "0," take far more memory, and time of all clients, than their bytes.
_BYTES_PER_VALUE = 8
# Each wrong entry of a list would get a message of its own: a long list of them fills memory.
_MOST_ENTRIES = 16
# How long a client that is refused may go on sending, and a stopping server waits for answers.
_PATIENCE_SECONDS = 5
# How long a client may pause while it sends.
_SILENT_SECONDS = 30
# How long a client may take for the head of a request.
_HEAD_SECONDS = 15
_MOST_CONNECTIONS = 1000
# Descriptors of the server for other things than connections.
_OWN_DESCRIPTORS = 48

_EPILOG = """\
A request is POST /v2/models/NAME/infer with one input tensor as JSON; it names encode, decode or
reconstruct (also called serving_default, and meant by a request that names none):
  {"parameters": {"signature": "decode"},
   "inputs": [{"name": "codes", "datatype": "INT32", "shape": [1, 7, 7], "data": [3, 90, ...]}]}
GET /v2/models/NAME says what tensors there are, GET /v2/health/ready whether the server is ready.

examples:
  keras-vq serve runs/vqvae-mnist/exports/onnx
  keras-vq serve codec --name mnist --port 9000
"""


class Options(NamedTuple):
    """What is served, and where."""

    folder: Path
    name: str
    host: str
    port: int
    megabytes: int


def add_parser(commands: Any) -> None:
    """Adds the command to the command line."""
    parser = arguments.add_command(
        commands,
        "serve",
        run,
        help="answer requests for an ONNX export over HTTP",
        description="Serves the signatures of an ONNX export by the Open Inference Protocol (V2),\n"
        'with MLServer and onnxruntime: pip install "keras-vq[serve]".',
        epilog=_EPILOG,
    )
    parser.add_argument(
        "folder",
        metavar="PATH",
        help="folder of .onnx files that keras-vq export --format onnx wrote",
    )
    parser.add_argument(
        "--port",
        type=_port,
        metavar="N",
        help=f"port to listen on, 0 for any that is free (default: {_DEFAULT_PORT})",
    )
    parser.add_argument(
        "--host",
        metavar="ADDRESS",
        help="address to listen on; 0.0.0.0 for all of this machine's, where whoever reaches the "
        f"port may ask (default: {_DEFAULT_HOST}, this machine only)",
    )
    parser.add_argument(
        "--name", metavar="NAME", help="name of the model in requests (default: the folder's)"
    )
    parser.add_argument(
        "--max-megabytes",
        dest="megabytes",
        type=arguments.positive_integer,
        metavar="N",
        help="refuse requests, and answers, that are longer; reading one takes up to some twenty "
        f"times as much memory (default: {_DEFAULT_MEGABYTES})",
    )
    arguments.add_debug(parser)


def run(given: dict[str, Any], args: list[str]) -> None:
    """Runs the command, until the server is stopped.

    Args:
        given: The options that were given, by name.
        args: The arguments as they were typed.

    Raises:
        ValueError: If the user made a mistake.
        ImportError: If a package is missing.
        KeyboardInterrupt: After Ctrl-C.
    """
    del args
    # All that can be found wrong without MLServer comes before the seconds that it takes.
    folder = _export_folder(Path(given["folder"]))
    name = _model_name(given.get("name"), folder)
    _check_packages()
    host, port = given.get("host", _DEFAULT_HOST), given.get("port", _DEFAULT_PORT)
    with _listening(host, port) as listener:
        port = listener.getsockname()[1]
        megabytes = given.get("megabytes", _DEFAULT_MEGABYTES)
        console.message("Starting MLServer ...")
        _serve(Options(folder, name, host, port, megabytes), listener)
    console.message("Stopped.")


def _port(text: str) -> int:
    port = arguments.not_negative_integer(text)
    if port > 65_535:
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, received {text!r}")
    return port


def _export_folder(path: Path) -> Path:
    if not path.is_dir():
        received = f"the file {path}" if path.exists() else f"{path}, which is not there"
        raise ValueError(
            "PATH must be the folder that an ONNX export wrote (keras-vq export --format onnx, or "
            f'model.export(PATH, format="onnx")). Received: {received}'
        )
    if not list(path.glob("*.onnx")):
        raise ValueError(
            f"There is no .onnx file in the folder: keras-vq export --format onnx writes them. "
            f"Received: {path}"
        )
    return path


def _model_name(asked: str | None, folder: Path) -> str:
    if asked is None:
        return re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("-.") or "model"
    # It stands in addresses, and in a header of each answer.
    if not re.fullmatch(r"[A-Za-z0-9._-]*[A-Za-z0-9_-][A-Za-z0-9._-]*", asked):
        raise ValueError(
            "--name must be of the letters a to z and A to Z, digits, '.', '_' and '-'. "
            f"Received: {asked!r}"
        )
    return asked


def _check_packages() -> None:
    missing = [package for package in ("mlserver", "onnxruntime") if find_spec(package) is None]
    if missing:
        raise ImportError(
            f"Serving needs {' and '.join(missing)}, which is not installed: "
            'pip install "keras-vq[serve]"'
        )


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that takes connections, taken before anything slow so that no other gets it."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = "another program listens there; choose another by --port, or 0 for any"
        else:
            reason = error.strerror or str(error)
        raise ValueError(f"Can't listen on port {port} of {host}: {reason}") from error
    with listener:
        yield listener


def _serve(options: Options, listener: socket.socket) -> None:
    import uvicorn

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    with interrupts.noted():
        application, model = _application(options)
        interrupts.check()
    console.message(_what_is_served(options, model))
    most = _most_connections()
    configuration = uvicorn.Config(
        application,
        http=_bounded_protocol(most),
        backlog=max(1, most // 2),  # in asyncio's loop also those accepted before one is served
        log_config=None,
        log_level=logging.WARNING,
        access_log=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=_PATIENCE_SECONDS,
    )
    # uvicorn stops at Ctrl-C and SIGTERM, and then raises the signal again for the handler that was
    # there before: Ctrl-C is for `main`, and after SIGTERM nothing is left to do.
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        uvicorn.Server(configuration).run(sockets=[listener])
    finally:
        signal.signal(signal.SIGTERM, before)


def _most_connections() -> int:
    """Returns how many connections may be open at once: descriptors suffice for twice as many."""
    try:
        import resource
    except ImportError:  # Windows
        return _MOST_CONNECTIONS
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    return max(8, min(_MOST_CONNECTIONS, (descriptors - _OWN_DESCRIPTORS) // 2))


def _bounded_protocol(most: int) -> Any:
    """Returns uvicorn's HTTP protocol with limits that it lacks.

    uvicorn waits without end for the head of a request, and its `limit_concurrency` refuses
    requests, not connections.

    Args:
        most: Connections that may be open at once. For one more, that which has waited longest for
            the rest of a request is closed, or the oldest if none waits.
    """
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    class BoundedProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        """HTTP with limits on connections and on the time that the head of a request takes."""

        head_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            if len(self.connections) >= most:
                longest = min(self.connections, key=lambda c: (c.is_answering(), c.made))
                self.connections.discard(longest)  # it is lost later, when others may have come
                longest.transport.abort()
            self.made = self.loop.time()
            super().connection_made(transport)
            self._time_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._time_head()

        def connection_lost(self, error: Exception | None) -> None:
            super().connection_lost(error)
            self._cancel_timer()

        def is_answering(self) -> bool:
            """Returns true from the end of a request to the end of its answer."""
            cycle = self.cycle
            return cycle is not None and not cycle.more_body and not cycle.response_complete

        def _time_head(self) -> None:
            """Starts the time for the head of a request, and stops it when a request is there."""
            if self.cycle is not None and not self.cycle.response_complete:
                self._cancel_timer()
            elif self.head_timer is None:
                self.head_timer = self.loop.call_later(_HEAD_SECONDS, self.transport.abort)

        def _cancel_timer(self) -> None:
            if self.head_timer is not None:
                self.head_timer.cancel()
                self.head_timer = None

    return BoundedProtocol


def _application(options: Options) -> tuple[Any, Any]:
    """The HTTP application, and the one model that it has.

    Put together from MLServer's parts, because its own server would listen for gRPC as well, and
    let clients unload the model.
    """
    from mlserver import ModelSettings, Settings
    from mlserver.handlers import DataPlane, ModelRepositoryHandlers
    from mlserver.registry import MultiModelRegistry
    from mlserver.repository.factory import ModelRepositoryFactory
    from mlserver.rest.app import create_app
    from mlserver.settings import ModelParameters
    from starlette.exceptions import HTTPException
    from starlette.routing import Route

    from keras_vq_cli.onnx_runtime import OnnxRuntime

    # No file `.env` of the current folder is to change what is served.
    settings = Settings(
        _env_file=None,
        debug=False,
        server_name="keras-vq",
        server_version=version("keras-vq"),
        parallel_workers=0,
        metrics_endpoint=None,
        gzip_enabled=False,  # it would compress in the event loop, while others wait
    )
    registry = MultiModelRegistry()
    data_plane = DataPlane(settings, registry)
    repository = ModelRepositoryFactory.resolve_model_repository(settings)
    handlers = ModelRepositoryHandlers(repository, registry)
    application = create_app(settings, data_plane, handlers)
    infer = Inference(data_plane.infer, options.name, options.megabytes * _MEGABYTE)
    application.router.routes[:] = [
        Route("/v2/models/{model_name}/infer", infer, methods=["POST"]),
        *(route for route in application.routes if getattr(route, "path", None) in _PATHS),
    ]
    application.add_exception_handler(HTTPException, _answer_to_refused)
    model = asyncio.run(
        registry.load(
            ModelSettings(
                _env_file=None,
                name=options.name,
                implementation=OnnxRuntime,
                platform="onnxruntime_onnx",
                parameters=ModelParameters(
                    _env_file=None,
                    uri=str(options.folder),
                    extra={"max_megabytes": options.megabytes},
                ),
            )
        )
    )
    return application, model


def _what_is_served(options: Options, model: Any) -> str:
    host = {"0.0.0.0": _DEFAULT_HOST, "::": "::1"}.get(options.host, options.host)
    address = f"http://{f'[{host}]' if ':' in host else host}:{options.port}"
    signatures = list(model.signatures.values())
    tried = model.signatures.get("encode", signatures[0])  # its answer is the shortest
    lines = [f"Serving {options.folder} as {options.name} at {address} until Ctrl-C:"]
    lines += [f"  {signature}" for signature in signatures]
    return "\n".join([*lines, "Try it:", f"  {_example(address, options.name, tried)}"])


def _example(address: str, name: str, signature: Any) -> str:
    """A command that asks for one answer, whatever the size of the images."""
    tensor = signature.input
    size = " * ".join(map(str, tensor.shape))
    content = (
        f'{{"parameters": {{"signature": "{signature.name}"}}, "inputs": [{{"name": '
        f'"{tensor.name}", "datatype": "{tensor.datatype}", "shape": {[1, *tensor.shape]}, '
        f'"data": [0] * ({size})}}]}}'
    )
    program = shlex.quote(f"import json; print(json.dumps({content}))")
    url = f"{address}/v2/models/{name}/infer"
    return f"python3 -c {program} | curl -s -H 'Content-Type: application/json' -d @- '{url}'"


class RefusalError(Exception):
    """A request that does not reach MLServer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Inference:
    """The endpoint that answers requests for the model, as an ASGI application.

    In MLServer's place, which reads bodies of any length, and parses them and writes answers in
    the event loop, while other clients wait.

    Args:
        infer: (request, name of the model) -> response, MLServer's.
        model: Name of the one model that is served.
        most_bytes: How long a request may be.
    """

    def __init__(
        self, infer: Callable[[Any, str], Awaitable[Any]], model: str, most_bytes: int
    ) -> None:
        self._infer = infer
        self._model = model
        self._most_bytes = most_bytes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answers a request."""
        is_answered = False

        async def answer(message: Any) -> None:
            nonlocal is_answered
            is_answered = True
            await send(message)

        try:
            await self._answer(scope, receive, answer)
        except asyncio.CancelledError:  # by uvicorn, which was asked to stop
            if not is_answered:
                await _send(answer, RefusalError(503, "The server is being stopped"))

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        from mlserver.errors import MLServerError

        try:
            self._check_head(scope["path_params"]["model_name"], dict(scope["headers"]))
            body = await self._body(receive)
        except RefusalError as refusal:
            await _send(send, refusal, self._drained(receive))
            return
        try:
            request = await asyncio.to_thread(self._parsed, body)
            response = await self._infer(request, self._model)
        except RefusalError as refusal:
            await _send(send, refusal)
        except MLServerError as error:
            await _send(send, RefusalError(error.status_code, str(error)))
        else:
            response.parameters = None  # MLServer's, meant as headers
            content = await asyncio.to_thread(response.model_dump_json)
            await _send(send, content)

    def _check_head(self, model: str, headers: dict[bytes, bytes]) -> None:
        # MLServer counts requests by the model's name, also by those that clients make up.
        if model != self._model:
            raise RefusalError(404, f"The model of this server is {self._model}. Received: {model}")
        kind = headers.get(b"content-type", b"none").decode("latin-1").partition(";")[0].strip()
        if kind.lower() != "application/json":
            raise RefusalError(
                415, f"The Content-Type of a request must be application/json. Received: {kind}"
            )
        encoding = headers.get(b"content-encoding", b"identity").decode("latin-1")
        if encoding.lower() != "identity":
            raise RefusalError(415, f"Requests must not be compressed. Received: {encoding}")
        length = int(headers.get(b"content-length", b"0"))
        if length > self._most_bytes:
            raise self._too_long(f"{length:,}")

    async def _body(self, receive: Any) -> bytes:
        parts, length, is_whole = [], 0, False
        while not is_whole:
            try:
                message = await asyncio.wait_for(receive(), _SILENT_SECONDS)
            except TimeoutError:
                raise RefusalError(408, "The request did not go on for too long") from None
            if message["type"] == "http.disconnect":
                raise RefusalError(400, "The request ended before its body did")
            parts.append(message.get("body", b""))
            length += len(parts[-1])
            if length > self._most_bytes:
                raise self._too_long("more")
            is_whole = not message.get("more_body", False)
        return b"".join(parts)

    def _too_long(self, length: str) -> RefusalError:
        return RefusalError(
            413,
            f"A request must have at most {self._most_bytes:,} bytes: send fewer images, or start "
            f"the server with a larger --max-megabytes. Received: {length}",
        )

    def _parsed(self, body: bytes) -> Any:
        import orjson
        from mlserver.types import InferenceRequest
        from pydantic import ValidationError

        most = self._most_bytes // _BYTES_PER_VALUE
        values = body.count(b",") + 1
        if values > most:
            raise RefusalError(
                413,
                f"A request must have at most {most:,} values: send fewer images, or start the "
                f"server with a larger --max-megabytes. Received: {values:,}",
            )
        try:
            with _without_collector():
                content = orjson.loads(body)
            _check_entries(content)
            return InferenceRequest.model_validate(content)
        except orjson.JSONDecodeError as error:
            raise RefusalError(400, f"The body must be JSON: {error}") from None
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            field = ".".join(map(str, first["loc"]))
            raise RefusalError(
                400,
                f'The request is not one of the Open Inference Protocol: "{field}": {first["msg"]}',
            ) from None

    async def _drained(self, receive: Any) -> None:
        """Reads on for a while: many clients read no answer before they have sent all."""
        left = self._most_bytes
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                more = True
                while more and left > 0:
                    message = await receive()
                    left -= len(message.get("body", b""))
                    more = message.get("more_body", False)


async def _send(
    send: Any, answer: str | RefusalError, until: Awaitable[None] | None = None
) -> None:
    """Sends an answer, and ends it and the connection when `until` is done."""
    headers = [(b"content-type", b"application/json")]
    status = 200
    if isinstance(answer, RefusalError):
        status = answer.status
        answer = json.dumps({"error": str(answer)})
    if until is not None:
        headers.append((b"connection", b"close"))
    content = answer.encode()
    headers.append((b"content-length", str(len(content)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content, "more_body": True})
    if until is not None:
        await until
    await send({"type": "http.response.body", "body": b""})


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """While this lasts, Python does not look for garbage among millions of new nested lists.

    It would take five times as long. Another thread that ends this early does no harm.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _check_entries(content: Any) -> None:
    """Looks at the length of what pydantic would have a message about each entry of."""
    if not isinstance(content, dict):
        raise RefusalError(400, 'The body must be a JSON object with "inputs"')
    inputs = content.get("inputs")
    tensors = inputs[:_MOST_ENTRIES] if isinstance(inputs, list) else []
    shapes = [tensor.get("shape") for tensor in tensors if isinstance(tensor, dict)]
    for name, value in (
        ("inputs", inputs),
        ("outputs", content.get("outputs")),
        *(("shape", shape) for shape in shapes),
    ):
        if isinstance(value, list) and len(value) > _MOST_ENTRIES:
            raise RefusalError(
                400, f'"{name}" must have at most {_MOST_ENTRIES} entries. Received: {len(value):,}'
            )


async def _answer_to_refused(request: Any, error: Any) -> Any:
    """Answers in the protocol's form where FastAPI has one of its own."""
    from starlette.responses import JSONResponse

    text = f"{error.detail}: {request.method} {request.url.path}"
    return JSONResponse({"error": text}, error.status_code, headers=error.headers)
