"""A host for what ``function_app`` registers: its triggers, served by uvicorn as they are."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from types import ModuleType
from typing import Any

from fastapi import Request
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from shared.errors import GatewayError
from shared.housekeeping import INTERVAL_SECONDS, Housekeeping

logger = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[Response]]

_CATCH_ALL = re.compile(r"\{\*(\w+)\}")
_NOTHING = re.compile(r"\{\w+:maxlength\(0\)\?\}")
"""A parameter that can only be left out: how a template of the host says the empty path."""


def create_host(
    function_app: ModuleType, prefix: str, housekeeping_seconds: float = INTERVAL_SECONDS
) -> Starlette:
    """Returns an ASGI application with one route for each HTTP trigger.

    Requests with a method that no function of the path takes go to the path's first function; the
    application answers 405 and names the methods of the path.

    Args:
        function_app: The module of the Functions app, loaded.
        prefix: The route prefix of ``host.json``.
        housekeeping_seconds: Pause before each run of the regular work, which needs no trigger here.
    """

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        api = function_app.api
        async with api.router.lifespan_context(api):
            regularly = asyncio.create_task(
                _run_regularly(api.state.housekeeping, housekeeping_seconds)
            )
            yield
            regularly.cancel()
            with suppress(asyncio.CancelledError):
                await regularly

    functions = [each for each in function_app.app.get_functions() if each.is_http_function()]
    routes = [_route(each, prefix) for each in functions]
    # After all of them, in which the order stays: the first with a path decides.
    routes += [_any_method(route) for route in routes]
    host = Starlette(routes=routes, lifespan=lifespan)
    # The Functions host does not redirect either.
    host.router.redirect_slashes = False
    return host


async def _run_regularly(housekeeping: Housekeeping, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await housekeeping.run()
        except GatewayError:
            # It has logged that itself, and storage may be back the next time.
            continue
        except Exception:
            logger.exception("Housekeeping failed")


def _route(function: Any, prefix: str) -> Route:
    trigger = function.get_trigger()
    handler: Handler = function.get_user_function()
    template = _CATCH_ALL.sub(r"{\1:path}", _NOTHING.sub("", trigger.route))
    path = "/" + "/".join(part for part in (prefix, template) if part)

    async def endpoint(request: Request) -> Response:
        return await handler(Request(request.scope, request.receive))

    methods = [method.value for method in trigger.methods]
    return Route(path, endpoint, methods=methods, name=function.get_function_name())


def _any_method(route: Route) -> Route:
    # Without any method in its list a route of Starlette takes all.
    return Route(route.path, route.endpoint, methods=[], name=route.name)
