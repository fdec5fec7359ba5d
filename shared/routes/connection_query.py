"""``?connections=``: the connections that a call is narrowed to."""

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import Query, Request

PARAMETER = "connections"

Connections = Annotated[
    str | None,
    Query(
        description="Names or ids of the connections whose tools are meant, comma-separated, or 'none'; "
        "all of the caller's and the operator's when left out.",
    ),
]


def named_connections(request: Request) -> Sequence[str] | Literal["none"] | None:
    """Returns the names of a request's query; None where it has none."""
    values = request.query_params.getlist(PARAMETER)
    if not values:
        return None
    names = [name.strip() for name in ",".join(values).split(",")]
    named = [name for name in names if name]
    return "none" if named in ([], ["none"]) else named
