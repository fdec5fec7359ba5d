"""The Azure Functions app: one HTTP trigger for each route of the application, and one timer."""

# ruff: noqa: E402 - what makes the imports faster comes before them
import gc

# What is imported lives as long as the process: looking for garbage in it is a tenth of an import.
gc.disable()

# The first import of ours, because it defers what the others load.
import shared  # noqa: F401

# isort: split
import re
from collections.abc import Awaitable, Callable

import azure.functions as func
from azurefunctions.extensions.http.fastapi import Request, Response, web
from fastapi.routing import iter_route_contexts
from starlette.types import Receive, Scope, Send
from uvicorn.config import HTTP_PROTOCOLS

from shared.app import create_app
from shared.asgi import AsgiResponse
from shared.functions_worker import WorkerServer, respond
from shared.housekeeping import SCHEDULE
from shared.settings import load_settings

_ASGI_KEYS = frozenset(
    {
        "type",
        "asgi",
        "http_version",
        "method",
        "scheme",
        "path",
        "raw_path",
        "query_string",
        "headers",
        "client",
        "server",
        "extensions",
    }
)
"""What the server put into the scope; the rest is the worker's own routing and would mislead ours."""

# The worker's library makes its own HTTP server of what it finds there.
web.FastAPI = WorkerServer
HTTP_PROTOCOLS["auto"] = "shared.http_protocol:BoundedHttpProtocol"

settings = load_settings()
api = create_app(settings)
app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)


async def _serve(scope: Scope, receive: Receive, send: Send) -> None:
    request = {key: value for key, value in scope.items() if key in _ASGI_KEYS}
    await api({**request, "root_path": ""}, receive, send)


def _handler(name: str) -> Callable[[Request], Awaitable[Response]]:
    async def handle(req: Request) -> Response:
        return await respond(req, AsgiResponse(_serve))

    # It becomes the function's.
    handle.__name__ = name
    return handle


async def housekeeping(timer: func.TimerRequest) -> None:
    """Does the regular work."""
    await api.state.housekeeping.run()


def _template(path: str) -> str:
    """Returns a path as the Functions host writes it, where ``{*name}`` takes the rest of the path."""
    if path == "/":
        # An empty route would become the function's name (Azure/azure-functions-host#2473).
        return "{ignored:maxlength(0)?}"
    return re.sub(r"{(\w+):path}", r"{*\1}", path).lstrip("/")


def _add_triggers() -> None:
    answers_preflight: set[str] = set()
    for route in iter_route_contexts(api.routes):
        if not (route.name and route.path and route.methods):
            raise TypeError(f"A route without a name, path or methods has no trigger: {route!r}")
        methods = sorted({*route.methods, "HEAD"} if "GET" in route.methods else route.methods)
        # Without OPTIONS the host answers a browser's preflight with 404. One function of a path has it.
        if route.path not in answers_preflight:
            methods.append("OPTIONS")
            answers_preflight.add(route.path)
        app.route(_template(route.path), methods=methods)(_handler(route.name))
    # A timer needs the host's storage, without which the host would not start.
    if settings.has_host_storage:
        timer = app.timer_trigger("timer", SCHEDULE, run_on_startup=False, use_monitor=True)
        timer(housekeeping)


_add_triggers()

# Later searches leave it out, too: each would hold up all requests for 40 ms.
gc.freeze()
gc.enable()
