"""Makes apps start quickly: nearly every test has one of its own, and most ask one or two routes.

FastAPI is what takes the time: it makes a hundred validators, and reads the signature of each handler.
"""

from collections.abc import Callable
from contextvars import Context
from typing import Any

from fastapi._compat.v2 import ModelField
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from pydantic.fields import FieldInfo
from starlette.routing import compile_path, get_name


def make_apps_quick() -> None:
    """Has FastAPI do the work of a route when it is used, and each validator's once in a process."""
    _reuse_validators()
    _complete_routes_at_first_use()


def _reuse_validators() -> None:
    make = ModelField.__post_init__
    made: dict[object, TypeAdapter[object]] = {}

    def reuse(field: ModelField) -> None:
        # FastAPI's own representation tells the default only, pydantic's the constraints and the
        # description too. It names functions by their address, and what is kept keeps them alive.
        key = (
            field.field_info.annotation,
            FieldInfo.__repr__(field.field_info),
            repr(field.config),
        )
        try:
            found = made.get(key)
        except TypeError:  # A type that holds something that has no hash.
            make(field)
            return
        if found is None:
            make(field)
            made[key] = field._type_adapter
        else:
            field._type_adapter = found

    ModelField.__post_init__ = reuse  # type: ignore[method-assign,assignment]


def _complete_routes_at_first_use() -> None:
    make = APIRoute.__init__

    def begin(route: APIRoute, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        """Notes what tells whether a request is this route's."""
        route.path, route.endpoint = path, endpoint
        route.path_regex, route.path_format, route.param_convertors = compile_path(path)
        route.name = options.get("name") or get_name(endpoint)
        route.methods = {method.upper() for method in options.get("methods") or ["GET"]}
        route.__dict__["_options"] = options

    def complete(route: APIRoute, name: str) -> Any:
        """Does the rest when anything else is asked for."""
        options = route.__dict__.pop("_options", None)
        if options is None:
            raise AttributeError(name, name=name, obj=route)
        noted = dict(route.__dict__)
        # Not in the context of the request that comes first, which FastAPI looks into here.
        Context().run(make, route, noted["path"], noted["endpoint"], **options)
        route.__dict__ |= noted
        return getattr(route, name)

    APIRoute.__init__ = begin  # type: ignore[assignment,method-assign]
    APIRoute.__getattr__ = complete  # type: ignore[attr-defined]
