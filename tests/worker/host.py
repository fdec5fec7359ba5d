"""A minimal Functions host: the project in Microsoft's worker library, behind an HTTP front.

``python -m tests.worker.host [PROJECT]`` writes one line of JSON about what it loaded to its standard
output, then serves until it is terminated. Whatever the worker and the application write goes to the
standard error. A process loads one application only: the library and the application keep global state.
"""

import asyncio
import gc
import json
import logging
import os
import re
import socket
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

import aiohttp
import azure_functions_runtime as library
from azure_functions_runtime import http_v2
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send
from yarl import URL

from local.config import PROJECT, route_prefix
from local.server import LoopbackServer, bind
from shared.disconnect import cancel_on_disconnect
from tests.ports import KEEP_ALIVE_SECONDS, SMALL_BUFFER
from tests.worker.host_log import ContextEnabledTask, HostLog, make_task
from tests.worker.messages import (
    Message,
    ParameterBinding,
    StatusResult,
    http_input,
    make_request,
    timer_input,
)

logger = logging.getLogger("tests.worker.host")

_OWN_HEADERS = {b"connection", b"date", b"keep-alive", b"server", b"transfer-encoding"}
"""Headers of one connection only: the front and the worker's server each write theirs."""


@dataclass(frozen=True)
class Function:
    """A function that the worker indexed; one without methods has another trigger than HTTP."""

    id: str
    name: str
    parameter: str
    trigger: str
    route: str
    methods: list[str]
    schedule: str


ADMIN = "/admin/"
"""Where this host answers itself: ``state``, ``held``, or the name of a function to run."""


class WorkerFailure(Exception):
    """Raised when the worker answers that it failed; holds its message and stack trace."""


class Worker:
    """The worker library, addressed as the host does.

    Args:
        log: What it and the application log.

    Attributes:
        functions: What it indexed.
        http_uri: Where its HTTP server is.
    """

    def __init__(self, log: HostLog) -> None:
        self.functions: list[Function] = []
        self.http_uri = ""
        self._log = log
        self._invocations: set[asyncio.Task[None]] = set()

    @property
    def state(self) -> dict[str, int]:
        """What the worker holds: invocations that have not ended, and references of its library."""
        return {
            "invocations": len(self._invocations),
            "references": len(http_v2.http_coordinator._context_references),
        }

    async def load(self, project: Path) -> None:
        """Loads and indexes the application.

        Raises:
            WorkerFailure: The worker cannot load it.
        """
        started = await library.worker_init_request(
            make_request(
                "worker_init_request", capabilities={}, function_app_directory=str(project)
            )
        )
        _check(started)
        # The worker leaves out both where it found nothing, and fails in silence.
        self.http_uri = started.capabilities.get("HttpUri", "")
        indexed = await library.functions_metadata_request(make_request("functions_metadata"))
        _check(indexed)
        self.functions = [_read(metadata) for metadata in indexed.function_metadata_results or ()]
        for function in self.functions:
            request = make_request("function_load_request", function_id=function.id)
            _check(await library.function_load_request(request))

    def begin(
        self, function: Function, invocation_id: str, request: Request, parameters: dict[str, str]
    ) -> None:
        """Begins to run a function for a request that goes to the worker's HTTP server.

        As in the real host, the invocation does not end because its request has.
        """
        trigger = http_input(function.parameter, request.method, str(request.url), parameters)
        name = request.headers.get("x-request-id", function.name)
        task = asyncio.create_task(self._run(function, invocation_id, trigger, name))
        self._invocations.add(task)
        task.add_done_callback(self._invocations.discard)

    async def _run(
        self, function: Function, invocation_id: str, trigger: ParameterBinding, name: str
    ) -> None:
        try:
            await self.invoke(function, invocation_id, trigger, name)
        except WorkerFailure:
            logger.exception("Function %s failed", function.name)

    async def invoke(
        self, function: Function, invocation_id: str, trigger: ParameterBinding, name: str
    ) -> None:
        """Runs a function to its end.

        Args:
            function: The function.
            invocation_id: The invocation.
            trigger: What it gets.
            name: What the invocation is called in the log.

        Raises:
            WorkerFailure: It failed.
        """
        self._log.executing[invocation_id] = name
        task = asyncio.current_task()
        assert isinstance(task, ContextEnabledTask)
        task.set_invocation_id(invocation_id)
        try:
            done = await self._request(function, invocation_id, trigger)
        finally:
            del self._log.executing[invocation_id]
        _check(done)

    async def _request(
        self, function: Function, invocation_id: str, trigger: ParameterBinding
    ) -> Any:
        return await library.invocation_request(
            make_request(
                "invocation_request",
                invocation_id=invocation_id,
                function_id=function.id,
                input_data=[trigger],
                trigger_metadata={},
                trace_context=Message(trace_parent="", trace_state="", attributes={}),
                retry_context=Message(retry_count=0, max_retry_count=0, exception=None),
            )
        )


class Front:
    """The host's HTTP server: picks the function, invokes it, and forwards request and answer.

    Args:
        worker: What has the functions.
        prefix: The route prefix of ``host.json``.
    """

    def __init__(self, worker: Worker, prefix: str) -> None:
        self._worker = worker
        served = [function for function in worker.functions if function.trigger == "httpTrigger"]
        functions = sorted(served, key=lambda function: _precedence(function.route))
        self._routes = [(_pattern(prefix, function.route), function) for function in functions]
        # The real host is no Python: of the clients here aiohttp takes the least time in its place.
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS, socket_factory=_make_socket
            ),
            timeout=aiohttp.ClientTimeout(total=None),
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=SMALL_BUFFER,
            max_field_size=SMALL_BUFFER,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        # uvicorn takes the error that this raises for a lifespan as "has none".
        request = Request(scope, receive)
        if scope["path"].startswith(ADMIN):
            response = await self._administer(scope["path"].removeprefix(ADMIN))
            await response(scope, receive, send)
            return
        function, parameters = self._find(request.method, _routed_path(scope["raw_path"]))
        if function is None:
            await Response(status_code=404)(scope, receive, send)
            return
        body = await request.body()
        invocation_id = str(uuid4())
        self._worker.begin(function, invocation_id, request, parameters)
        with suppress(ClientDisconnect):
            async with cancel_on_disconnect(receive):
                await self._forward(request, body, invocation_id, send)

    async def _administer(self, wish: str) -> Response:
        """Tells the worker's state or what it holds, or runs a function with another trigger."""
        if wish == "held":
            return JSONResponse({"tasks": _tasks(), "objects": _objects()})
        for function in self._worker.functions:
            if function.name == wish and function.trigger == "timerTrigger":
                try:
                    timer = timer_input(function.parameter)
                    invocation = self._worker.invoke(function, str(uuid4()), timer, wish)
                    # In a task of its own, which the worker makes of each request of the host.
                    await asyncio.create_task(invocation)
                except WorkerFailure as failure:
                    return JSONResponse({"error": str(failure)}, 500)
        return JSONResponse(self._worker.state)

    def _find(self, method: str, path: str) -> tuple[Function | None, dict[str, str]]:
        for pattern, function in self._routes:
            if method in function.methods and (match := pattern.fullmatch(path)):
                return function, match.groupdict()
        return None, {}

    async def _forward(self, request: Request, body: bytes, invocation_id: str, send: Send) -> None:
        target = request.scope["raw_path"].decode()
        query = f"?{request.url.query}" if request.url.query else ""
        headers = [
            *_passed_on(request.headers.raw),
            (b"x-ms-invocation-id", invocation_id.encode()),
        ]
        asking = self._http.request(
            request.method,
            URL(f"{self._worker.http_uri}{target}{query}", encoded=True),
            headers=[(name.decode(), value.decode("latin-1")) for name, value in headers],
            data=body or None,
            allow_redirects=False,
        )
        async with asking as answer:
            start = {"type": "http.response.start", "status": answer.status}
            await send({**start, "headers": _passed_on(answer.raw_headers)})
            async for piece in answer.content.iter_any():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _make_socket(address: Any) -> socket.socket:
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
    return made


def _tasks() -> Counter[str]:
    """Counts the tasks of the worker and its application by what they run."""
    return Counter(getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks())


def _objects() -> Counter[str]:
    """Counts what the garbage collector knows by its type."""
    gc.collect()
    types = map(type, gc.get_objects())
    return Counter(f"{kind.__module__}.{kind.__qualname__}" for kind in types)


def _passed_on(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in headers if name.lower() not in _OWN_HEADERS]


def _check(response: Any) -> None:
    if response.result.status != StatusResult.Success:
        error = response.result.exception
        raise WorkerFailure(f"{error.message}\n{error.stack_trace}")


def _read(metadata: Any) -> Function:
    bindings = [json.loads(binding) for binding in metadata.raw_bindings]
    (trigger,) = [binding for binding in bindings if binding["type"].endswith("Trigger")]
    return Function(
        id=metadata.function_id,
        name=metadata.name,
        parameter=trigger["name"],
        trigger=trigger["type"],
        route=trigger.get("route", ""),
        methods=trigger.get("methods", []),
        schedule=trigger.get("schedule", ""),
    )


def _precedence(template: str) -> list[int]:
    """Orders templates as the host does: segment by segment text, then parameter, then the rest."""
    return [
        2 if segment.startswith("{*") else 1 if segment.startswith("{") else 0
        for segment in template.split("/")
    ]


def _pattern(prefix: str, template: str) -> re.Pattern[str]:
    segments = [part for part in f"{prefix}/{template}".split("/") if part]
    return re.compile("".join(map(_segment, segments)) + "/?", re.IGNORECASE | re.DOTALL)


def _routed_path(raw: bytes) -> str:
    """Returns a path as the host matches it: decoded, but for slashes."""
    parts = re.split("(%2f)", raw.decode(), flags=re.IGNORECASE)
    return "".join(part if part.lower() == "%2f" else unquote(part) for part in parts)


def _segment(template: str) -> str:
    if template.endswith(":maxlength(0)?}"):
        # May be left out, and cannot be anything else.
        return ""
    if template.startswith("{*"):
        return f"(?:/(?P<{template[2:-1]}>.*))?"
    if template.startswith("{"):
        return f"/(?P<{template[1:-1]}>[^/]+)"
    return "/" + re.escape(template)


def _arrange_path(project: Path) -> None:
    # As in Azure, where the application's folder comes last: whatever is installed wins.
    others = [entry for entry in sys.path if Path(entry).resolve() != PROJECT]
    sys.path[:] = [*others, str(project)]


async def main(project: Path) -> int:
    """Loads a project and serves it; returns the exit status."""
    report, sys.stdout = sys.stdout, sys.stderr
    log = HostLog()
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[log])
    asyncio.get_running_loop().set_task_factory(make_task)
    _arrange_path(project)
    worker = Worker(log)
    errors: list[str] = []
    try:
        await worker.load(project)
    except WorkerFailure as failure:
        errors.append(str(failure))
    bound = bind(0)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER)
    server = LoopbackServer(Front(worker, route_prefix()), bound)
    server.listen()
    document = {
        "origin": f"http://127.0.0.1:{server.port}",
        "http_uri": worker.http_uri,
        "pid": os.getpid(),
        "functions": [asdict(function) for function in worker.functions],
        "errors": errors,
        "shared": getattr(sys.modules.get("shared"), "__file__", None),
        "library": library.__file__,
    }
    report.write(json.dumps(document) + "\n")
    report.flush()
    if errors:
        return 1
    await server.run_until_stopped()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Path(sys.argv[1]) if sys.argv[1:] else PROJECT)))
