"""How a request finds its route.

FastAPI keeps included routers as they are and searches through each of them twice, once for the router
and once for its route. So all routes are added to the application itself, and those whose path has no
parameters are found by their path.
"""

from collections.abc import Iterable

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send


def add_routes(api: FastAPI, *routers: APIRouter) -> None:
    """Adds the routes of routers to the application.

    Args:
        api: The application.
        routers: Routers without included routers of their own.
    """
    for router in routers:
        for route in router.routes:
            if isinstance(route, APIRoute):
                # The name is the function's; it becomes the operation's id in the OpenAPI document.
                route.unique_id = route.name
            api.router.routes.append(route)


def index_paths(api: FastAPI) -> None:
    """Lets the routes that the application has now be found by their path."""
    router = api.router
    router.middleware_stack = ExactPaths(router.middleware_stack, router.routes)


class ExactPaths:
    """Hands a request to the route of its path and method.

    Args:
        search: Searches for the route of any other request, such as one with a parameter in its path.
        routes: The routes.
    """

    def __init__(self, search: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        self._search = search
        self._routes: dict[tuple[str, str], Route] = {}
        self._routers: dict[tuple[str, str], APIRouter] = {}
        for route in routes:
            if isinstance(route, Route) and not route.param_convertors:
                for method in route.methods or ():
                    self._routes.setdefault((method, route.path), route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        key = (scope["method"], scope["path"]) if scope["type"] == "http" else None
        if key is None or key not in self._routes:
            await self._search(scope, receive, send)
            return
        # A router of its own, because routers tell FastAPI's telemetry the route.
        router = self._routers.get(key)
        if router is None:
            router = self._routers[key] = APIRouter(routes=[self._routes[key]])
        await router(scope, receive, send)
