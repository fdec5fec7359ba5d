"""Messages of JSON-RPC, looked at before the SDK reads them."""

from typing import Any

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import Scope

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


def version_refusal(scope: Scope, document: Any) -> JSONResponse | None:
    """Returns the answer to a request whose header names an unknown revision; None where it does not.

    A message that names a revision itself is left to the SDK, which refuses it so, too. Imports the SDK.
    """
    from mcp_types import UNSUPPORTED_PROTOCOL_VERSION
    from mcp_types.version import KNOWN_PROTOCOL_VERSIONS

    version = Headers(scope=scope).get("mcp-protocol-version")
    if version is None or version in KNOWN_PROTOCOL_VERSIONS or _has_meta(document):
        return None
    supported = ", ".join(KNOWN_PROTOCOL_VERSIONS)
    error = {
        "code": UNSUPPORTED_PROTOCOL_VERSION,
        "message": f"The version in MCP-Protocol-Version is not supported. Send one of {supported}.",
        "data": {"supported": [*KNOWN_PROTOCOL_VERSIONS], "requested": version},
    }
    id_ = document.get("id") if isinstance(document, dict) else None
    return JSONResponse({"jsonrpc": "2.0", "id": id_, "error": error}, status_code=400)


def _has_meta(document: Any) -> bool:
    parameters = document.get("params") if isinstance(document, dict) else None
    return isinstance(parameters, dict) and "_meta" in parameters
