"""Messages of JSON-RPC, looked at before the SDK reads them."""

import json
from typing import Any

BAD_ID = "The id of a request must be a string or an integer. Send one."


def read_request(body: bytes, method: str, max_bytes: int) -> dict[str, Any] | None:
    """Returns a request of one method; None for all else.

    Args:
        body: The whole body.
        method: The method.
        max_bytes: Maximum bytes of a body that is decoded.
    """
    if len(body) > max_bytes or method.encode() not in body:
        return None
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) and message.get("method") == method else None


def has_valid_id(message: Any) -> bool:
    """Returns whether a message has no id or one that the protocol knows, neither null nor a fraction.

    The SDK takes a request with another one for a notification, and answers nothing.
    Source: https://modelcontextprotocol.io/specification/2025-06-18/basic#requests
    """
    if not isinstance(message, dict) or "method" not in message or "id" not in message:
        return True
    return isinstance(message["id"], str | int) and not isinstance(message["id"], bool)
