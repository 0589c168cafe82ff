"""HTTP server of `keras-vq serve` for an ONNX export (Open Inference Protocol).

Runs MLServer with `onnx_runtime.OnnxRuntime` as its only model, and replaces its inference endpoint
with one that limits requests. Neither Keras nor keras_vq is imported: a server needs only the
exported files.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import json
import logging
import shlex
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from keras_vq_cli import console, interrupts

DEFAULT_HOST = "127.0.0.1"
_MEGABYTE = 1_000_000

# Routes of MLServer to keep; its others load and unload models or stream responses.
_PATHS = (
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/{model_name}",
    "/v2/models/{model_name}/ready",
)
# Request bytes per allowed value: short values such as "0," take far more memory when parsed.
_BYTES_PER_VALUE = 8
# pydantic creates one error per invalid entry, so a long list would fill the memory.
_MOST_ENTRIES = 16
# Time for which a rejected client may keep sending, and for responses during shutdown.
_PATIENCE_SECONDS = 5
# Longest pause of a client within a request body.
_SILENT_SECONDS = 30
# Time limit for the head of a request.
_HEAD_SECONDS = 15
_MOST_CONNECTIONS = 1000
# File descriptors reserved for purposes other than connections.
_OWN_DESCRIPTORS = 48


class Options(NamedTuple):
    """Model folder and name, address and size limit of the server."""

    folder: Path
    name: str
    host: str
    port: int
    megabytes: int


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Opens the listening socket, before slow imports so that a used port is reported at once."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = "the port is in use. Choose another --port, or 0 for any free port"
        else:
            reason = error.strerror or str(error)
        raise ValueError(f"Cannot listen on port {port} of {host}: {reason}") from error
    with listener:
        yield listener


def serve(options: Options, listener: socket.socket) -> None:
    """Serves requests until SIGINT or SIGTERM."""
    with interrupts.suspended():
        import uvicorn

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    application, model = _application(options)
    interrupts.check()
    console.message(_what_is_served(options, model))
    most = _most_connections()
    configuration = uvicorn.Config(
        application,
        http=_bounded_protocol(most),
        backlog=max(1, most // 2),  # asyncio accepts up to this many connections at a time
        log_config=None,
        log_level=logging.WARNING,
        access_log=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=_PATIENCE_SECONDS,
    )
    # uvicorn stops at SIGINT and SIGTERM and then raises the signal again for the previous handler:
    # `main` handles SIGINT, and SIGTERM needs no further action.
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        uvicorn.Server(configuration).run(sockets=[listener])
    finally:
        signal.signal(signal.SIGTERM, before)


def _most_connections() -> int:
    """Returns the connection limit: half of the available file descriptors, at most 1000."""
    try:
        import resource
    except ImportError:  # Windows
        return _MOST_CONNECTIONS
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    return max(8, min(_MOST_CONNECTIONS, (descriptors - _OWN_DESCRIPTORS) // 2))


def _bounded_protocol(most: int) -> Any:
    """Returns a subclass of uvicorn's HTTP protocol with limits on connections and request heads.

    uvicorn has no timeout for the head of a request, and its `limit_concurrency` rejects requests,
    not connections.

    Args:
        most: Integer. Maximum number of open connections. A further connection closes the oldest of
            those that wait for a request, or the oldest of all if all are being answered.
    """
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    class BoundedProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        """HTTP protocol with limits on connections and on the time for a request head."""

        head_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            if len(self.connections) >= most:
                longest = min(self.connections, key=lambda c: (c.is_answering(), c.made))
                self.connections.discard(longest)  # connection_lost is called later
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
            """Returns true from the end of a request to the end of its response."""
            cycle = self.cycle
            return cycle is not None and not cycle.more_body and not cycle.response_complete

        def _time_head(self) -> None:
            """Starts the timer for a request head, or cancels it once the head is complete."""
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
    """Returns the HTTP application and its model.

    It is assembled from parts of MLServer because the server of MLServer also listens for gRPC and
    lets clients unload the model.
    """
    with interrupts.suspended():
        from mlserver import ModelSettings, Settings
        from mlserver.handlers import DataPlane, ModelRepositoryHandlers
        from mlserver.registry import MultiModelRegistry
        from mlserver.repository.factory import ModelRepositoryFactory
        from mlserver.rest.app import create_app
        from mlserver.settings import ModelParameters
        from starlette.exceptions import HTTPException
        from starlette.routing import Route

        from keras_vq_cli.onnx_runtime import OnnxRuntime

    # Ignore a file `.env` in the current folder.
    settings = Settings(
        _env_file=None,
        debug=False,
        server_name="keras-vq",
        server_version=version("keras-vq"),
        parallel_workers=0,
        metrics_endpoint=None,
        gzip_enabled=False,  # compression would block the event loop
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
    host = {"0.0.0.0": DEFAULT_HOST, "::": "::1"}.get(options.host, options.host)
    address = f"http://{f'[{host}]' if ':' in host else host}:{options.port}"
    signatures = list(model.signatures.values())
    tried = model.signatures.get("encode", signatures[0])  # its response is the shortest
    lines = [f"Serving {options.folder} as {options.name} at {address} (press Ctrl-C to stop):"]
    lines += [f"  {signature}" for signature in signatures]
    return "\n".join([*lines, "Example request:", f"  {_example(address, options.name, tried)}"])


def _example(address: str, name: str, signature: Any) -> str:
    """Returns a shell command that sends an example request of all zeros."""
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
    """Error response for a request that is rejected before it reaches MLServer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Inference:
    """Inference endpoint as an ASGI application.

    It replaces that of MLServer, which reads bodies of any length, and which parses requests and
    serializes responses in the event loop, so that other clients wait.

    Args:
        infer: Callable `(request, model_name) -> response` of MLServer.
        model: String. Name of the served model.
        most_bytes: Integer. Maximum size of a request in bytes.
    """

    def __init__(
        self, infer: Callable[[Any, str], Awaitable[Any]], model: str, most_bytes: int
    ) -> None:
        self._infer = infer
        self._model = model
        self._most_bytes = most_bytes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handles a request."""
        is_answered = False

        async def answer(message: Any) -> None:
            nonlocal is_answered
            is_answered = True
            await send(message)

        try:
            await self._answer(scope, receive, answer)
        except asyncio.CancelledError:  # uvicorn is shutting down
            if not is_answered:
                await _send(answer, RefusalError(503, "The server is shutting down"))

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
            response.parameters = None  # set by MLServer for response headers
            content = await asyncio.to_thread(response.model_dump_json)
            await _send(send, content)

    def _check_head(self, model: str, headers: dict[bytes, bytes]) -> None:
        # MLServer keeps a counter per model name, also for unknown names.
        if model != self._model:
            raise RefusalError(404, f"The model must be {self._model}. Received: {model}")
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
                raise RefusalError(408, "The request body timed out") from None
            if message["type"] == "http.disconnect":
                raise RefusalError(400, "The connection was closed during the request body")
            parts.append(message.get("body", b""))
            length += len(parts[-1])
            if length > self._most_bytes:
                raise self._too_long("more")
            is_whole = not message.get("more_body", False)
        return b"".join(parts)

    def _too_long(self, length: str) -> RefusalError:
        return RefusalError(
            413,
            f"A request must have at most {self._most_bytes:,} bytes. Send fewer images, or start "
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
                f"A request must have at most {most:,} values. Send fewer images, or start the "
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
                "The request does not conform to the Open Inference Protocol: "
                f'"{field}": {first["msg"]}',
            ) from None

    async def _drained(self, receive: Any) -> None:
        """Discards the rest of a request, because many clients read no response before its end."""
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
    """Sends a response. If `until` is given, awaits it before it ends response and connection."""
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
    """Disables the cyclic garbage collector during JSON parsing.

    With it, parsing millions of nested lists takes five times as long. It is harmless if another
    thread enables the collector too early.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _check_entries(content: Any) -> None:
    """Limits the length of lists for which pydantic would create one error per entry."""
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
    """Returns HTTP errors of FastAPI in the error format of the protocol."""
    from starlette.responses import JSONResponse

    text = f"{error.detail}: {request.method} {request.url.path}"
    return JSONResponse({"error": text}, error.status_code, headers=error.headers)
