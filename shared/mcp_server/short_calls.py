"""Calls that are answered with one JSON document in place of an event stream.

A stream takes the SDK two tasks, channels between them and timers: a third of what a short call costs.
It is there for what comes before the result, which is progress, and comments that keep the connection
open. A tool that asks nobody outside has neither where its client wants no progress.
"""

import json
from collections.abc import Collection
from typing import Any

from starlette.requests import Request
from starlette.types import Scope

MAX_REQUEST_BYTES = 16 * 1024
"""Maximum bytes of a request that is looked at: larger ones cost more than their stream does."""

_METHOD = "tools/call"


def is_short_call(scope: Scope, body: bytes, tools: Collection[str]) -> bool:
    """Returns whether a request wants the result of a short tool and nothing before it.

    Args:
        scope: Of the request.
        body: The whole body.
        tools: The names of short tools.
    """
    # The SDK takes what accepts JSON only where it writes no streams; the answer to it is 406 here.
    from mcp.server.streamable_http import check_accept_headers

    if len(body) > MAX_REQUEST_BYTES or _METHOD.encode() not in body:
        return False
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return False
    is_call = isinstance(message, dict) and message.get("method") == _METHOD
    params = message.get("params") if is_call else None
    return (
        isinstance(params, dict)
        and isinstance(name := params.get("name"), str)
        and name in tools
        and not _wants_progress(params.get("_meta"))
        and all(check_accept_headers(Request(scope)))
    )


def _wants_progress(meta: Any) -> bool:
    return isinstance(meta, dict) and "progressToken" in meta
