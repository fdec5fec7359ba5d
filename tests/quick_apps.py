"""Makes apps start quickly: nearly every test has one of its own, and most ask one or two routes.

FastAPI is what takes the time: for each route that is asked for it makes validators.
"""

from fastapi._compat.v2 import ModelField
from pydantic import TypeAdapter
from pydantic.fields import FieldInfo


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
