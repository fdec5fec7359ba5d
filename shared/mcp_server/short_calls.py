"""Calls that are answered with one JSON document in place of an event stream.

A stream takes the SDK two tasks, channels between them and timers: a third of what a short call costs.
It is there for what comes before the result, which is progress, and comments that keep the connection
open. A tool that asks nobody outside has neither where its client wants no progress.
"""

from collections.abc import Collection
from typing import Any

from shared.mcp_server.messages import read_request

MAX_REQUEST_BYTES = 16 * 1024
"""Maximum bytes of a request that is looked at: larger ones cost more than their stream does."""

_METHOD = "tools/call"


def is_short_call(body: bytes, tools: Collection[str]) -> bool:
    """Returns whether a request wants the result of a short tool and nothing before it.

    Args:
        body: The whole body.
        tools: The names of short tools.
    """
    message = read_request(body, _METHOD, MAX_REQUEST_BYTES)
    params = message.get("params") if message is not None else None
    return (
        isinstance(params, dict)
        and isinstance(name := params.get("name"), str)
        and name in tools
        and not _wants_progress(params.get("_meta"))
    )


def _wants_progress(meta: Any) -> bool:
    return isinstance(meta, dict) and "progressToken" in meta
