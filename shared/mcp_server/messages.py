"""Messages of JSON-RPC, looked at before the SDK reads them."""

from typing import Any

_BAD_ID = "The id of a request must be a string or an integer. Send one."


def complaint_about(message: Any) -> str | None:
    """Returns what is wrong with what is no message of JSON-RPC 2.0; None where it may be one."""
    if not isinstance(message, dict):
        return "A message must be a JSON object. Send one."
    if message.get("jsonrpc") != "2.0":
        return "The field jsonrpc of a message must be '2.0'."
    return None if _has_valid_id(message) else _BAD_ID


def _has_valid_id(message: dict[str, Any]) -> bool:
    """Returns whether a message has no id or one that the protocol knows, neither null nor a fraction.

    The SDK takes a request with another one for a notification, and answers nothing.
    Source: https://modelcontextprotocol.io/specification/2025-06-18/basic#requests
    """
    if "method" not in message or "id" not in message:
        return True
    return isinstance(message["id"], str | int) and not isinstance(message["id"], bool)
