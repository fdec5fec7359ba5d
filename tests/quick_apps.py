"""Makes apps start quickly: nearly every test has one of its own, and most ask one or two routes.

FastAPI is what takes the time: for each route that is asked for it makes validators.
"""

from importlib import import_module

from fastapi._compat.v2 import ModelField
from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

_SMALL_MODULES = (
    *("anyio._backends._asyncio", "httpcore2", "h11", "truststore"),
    *("cryptography.hazmat", "imagesize", "genai_prices.decompose"),
    *("openai.resources.images", "openai.resources.audio"),
)
"""What requests import beside what an app in Azure loads before."""


def make_apps_quick() -> None:
    """Has FastAPI make each validator once in a process."""
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


def prepare_apps() -> None:
    """Does once in a process what its first app's first requests would do: imports, routes, schemas."""
    from shared.app import create_app
    from shared.preloading import BLOB_MODULES, MODULES
    from shared.settings import load_settings

    for name in (*MODULES, *BLOB_MODULES, *_SMALL_MODULES):
        import_module(name)
    # Every route and the schemas of every tool are in it.
    create_app(load_settings({"MCP_API_KEY": "of-nobody"})).openapi()
