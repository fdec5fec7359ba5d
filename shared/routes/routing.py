"""When a route is made, and how a request finds it.

FastAPI makes the dependencies, models and validators of a route when it is declared, which is most of
what an import of the app would take. `DeferredRoute` makes them when the route is used: a first request
waits for its own route alone, and ``/openapi.json`` makes all.

FastAPI keeps included routers as they are and searches through each of them twice, once for the router
and once for its route. So all routes are added to the application itself, and those whose path has no
parameters are found by their path.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import BaseRoute, Match, Route, compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

_REFUSED_METHODS_ATTRIBUTE = "refused_methods"
_OF_PATH = ("path_regex", "path_format", "param_convertors")


class DeferredRoute(APIRoute):
    """A route of which FastAPI makes the rest when anything but path, name and methods is asked for.

    What is wrong with its endpoint is raised then too.

    Args:
        path: The path.
        endpoint: Answers; it has a name or ``name`` is given.
        name: The name, which is the function's in Azure.
        methods: The HTTP methods; GET where none are given.
        describe: Returns what else `APIRoute` takes; for what is expensive to make.
        options: What else `APIRoute` takes.
    """

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        name: str | None = None,
        methods: Sequence[str] | None = None,
        describe: Callable[[], Mapping[str, Any]] = dict,
        **options: Any,
    ) -> None:
        self.path = path
        self.endpoint = endpoint
        self.name = name or endpoint.__name__
        self.methods: set[str] = {method.upper() for method in methods or ["GET"]}
        # It becomes the operation's id in the OpenAPI document.
        self.unique_id = self.name
        self._describe = describe
        self._options = options
        # The document is made in a thread.
        self._lock = threading.Lock()
        self._is_made = False

    def __getattr__(self, name: str) -> Any:
        # Python asks here for what is not there yet.
        if name in _OF_PATH:
            self.path_regex, self.path_format, self.param_convertors = compile_path(self.path)
        elif not name.startswith("_") or name in APIRoute.__annotations__:
            self._make()
        try:
            return vars(self)[name]
        except KeyError:
            raise AttributeError(f"A route has no {name!r}.", name=name, obj=self) from None

    def _make(self) -> None:
        with self._lock:
            if self._is_made:
                return
            # In another object, so that nobody sees what is half made.
            made = object.__new__(type(self))
            APIRoute.__init__(
                made,
                self.path,
                self.endpoint,
                name=self.name,
                methods=self.methods,
                **self._options,
                **self._describe(),
            )
            vars(self).update({**vars(made), **vars(self)})
            self._is_made = True


def refusing(*methods: str) -> Callable[[Endpoint], Endpoint]:
    """Marks an endpoint that takes some methods only to refuse them: no ``Allow`` names them.

    Args:
        methods: The methods.
    """

    def mark(endpoint: Endpoint) -> Endpoint:
        vars(endpoint)[_REFUSED_METHODS_ATTRIBUTE] = frozenset(methods)
        return endpoint

    return mark


def allowed_methods(api: FastAPI, scope: Scope) -> list[str]:
    """Returns the methods that the path of a request has; none where the path is not there."""
    # Each of our routes has one method, and Starlette tells only that of the first with the path.
    methods: set[str] = set()
    for context in iter_route_contexts(api.routes):
        route = context.original_route
        if isinstance(route, Route) and route.matches(scope)[0] is not Match.NONE:
            methods |= set(context.methods or ()) - getattr(
                route.endpoint, _REFUSED_METHODS_ATTRIBUTE, frozenset()
            )
    return sorted(methods | {"HEAD"} if "GET" in methods else methods)


def add_routes(api: FastAPI, *routers: APIRouter) -> None:
    """Adds the routes of routers to the application.

    Args:
        api: The application.
        routers: Routers without included routers of their own.
    """
    for router in routers:
        api.router.routes.extend(router.routes)


def index_paths(api: FastAPI) -> None:
    """Lets the routes that the application has now be found by their path."""
    router = api.router
    router.middleware_stack = ExactPaths(router.middleware_stack, router.routes)


class AsgiRoute(Route):
    """A route whose endpoint is an ASGI application: nothing of FastAPI's lies between."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Returns whether a request is for this route, which the log names."""
        match, child_scope = super().matches(scope)
        if match is not Match.NONE:
            child_scope["route"] = self
        return match, child_scope


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
            # Asking for its parameters would compile the path of a deferred route.
            if isinstance(route, Route) and "{" not in route.path:
                for method in route.methods or ():
                    self._routes.setdefault((method, route.path), route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        key = (scope.get("method", ""), scope.get("path", ""))
        route = self._routes.get(key)
        if route is None:
            await self._search(scope, receive, send)
        elif "fastapi.telemetry" in scope:
            # A router of its own, because routers tell FastAPI's telemetry the route.
            router = self._routers.get(key)
            if router is None:
                router = self._routers[key] = APIRouter(routes=[route])
            await router(scope, receive, send)
        else:
            scope.update({"route": route, "endpoint": route.endpoint, "path_params": {}})
            await route.app(scope, receive, send)
