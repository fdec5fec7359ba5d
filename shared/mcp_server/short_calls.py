"""Calls that are answered with one JSON document in place of an event stream.

A stream takes the SDK two tasks, channels between them and timers: a third of what a short call costs.
It is there for what comes before the result, which is progress, and comments that keep the connection
open. A tool that asks nobody outside has neither where its client wants no progress.
"""

from collections.abc import Collection
from typing import Any

_METHOD = "tools/call"


def is_short_call(message: Any, tools: Collection[str]) -> bool:
    """Returns whether a message wants the result of a short tool and nothing before it.

    Args:
        message: The message.
        tools: The names of short tools.
    """
    if not isinstance(message, dict) or message.get("method") != _METHOD:
        return False
    params = message.get("params")
    return (
        isinstance(params, dict)
        and isinstance(name := params.get("name"), str)
        and name in tools
        and not _wants_progress(params.get("_meta"))
    )


def _wants_progress(meta: Any) -> bool:
    return isinstance(meta, dict) and "progressToken" in meta
