"""Messages of JSON-RPC, looked at before the SDK reads them."""

from typing import Any

BAD_ID = "The id of a request must be a string or an integer. Send one."


def has_valid_id(message: Any) -> bool:
    """Returns whether a message has no id or one that the protocol knows, neither null nor a fraction.

    The SDK takes a request with another one for a notification, and answers nothing.
    Source: https://modelcontextprotocol.io/specification/2025-06-18/basic#requests
    """
    if not isinstance(message, dict) or "method" not in message or "id" not in message:
        return True
    return isinstance(message["id"], str | int) and not isinstance(message["id"], bool)
