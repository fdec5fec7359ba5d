"""What the names of a connection's tools begin with in chat."""

import re
from collections.abc import Collection

from shared.connections.records import ConnectionRecord

_MAX_CHARS = 24


def plain_prefix(name: str) -> str:
    """Returns a connection's name as every provider takes it at the beginning of a function's name."""
    plain = re.sub(r"_{2,}", "_", re.sub(r"[^A-Za-z0-9-]", "_", name)).strip("_-")
    plain = plain[:_MAX_CHARS] or "server"
    return plain if plain[0].isalpha() else f"_{plain}"


def prefix_of(record: ConnectionRecord) -> str:
    """Returns the prefix of a connection, which old ones do not have stored."""
    return record.tool_prefix or plain_prefix(record.name)


def free_prefix(prefix: str, taken: Collection[str]) -> str:
    """Returns the prefix, or the first of its numbered ones that nothing else has."""
    candidate, number = prefix, 1
    while candidate in taken:
        number += 1
        candidate = f"{prefix}_{number}"
    return candidate
