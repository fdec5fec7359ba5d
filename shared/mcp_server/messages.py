"""Messages of JSON-RPC, looked at before the SDK reads them."""

from typing import Any

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import Scope

PARSE_ERROR = -32700
INVALID_REQUEST = -32600

_BAD_ID = "The id of a request must be a string or an integer. Send one."


def complaint_about(message: Any) -> str | None:
    """Returns why a value is not a message of JSON-RPC 2.0; None if it may be one."""
    if not isinstance(message, dict):
        return "A message must be a JSON object. Send one."
    if message.get("jsonrpc") != "2.0":
        return "The field jsonrpc of a message must be '2.0'."
    if not message.keys() & {"method", "result", "error"}:
        return "A message must have a method, a result or an error."
    if not isinstance(message.get("method", ""), str):
        return "The field method of a message must be a string."
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
    """Returns the refusal of an unsupported ``MCP-Protocol-Version``; None if it is supported or absent.

    The SDK checks the version of a message that names one in ``_meta``. Imports the SDK.
    """
    from mcp_types import PROTOCOL_VERSION_META_KEY, UNSUPPORTED_PROTOCOL_VERSION
    from mcp_types.version import KNOWN_PROTOCOL_VERSIONS

    version = Headers(scope=scope).get("mcp-protocol-version")
    if version is None or version in KNOWN_PROTOCOL_VERSIONS:
        return None
    if PROTOCOL_VERSION_META_KEY in meta_of(document):
        return None
    supported = ", ".join(KNOWN_PROTOCOL_VERSIONS)
    return protocol_error(
        UNSUPPORTED_PROTOCOL_VERSION,
        f"The version in MCP-Protocol-Version is not supported. Send one of {supported}.",
        id_=document.get("id") if isinstance(document, dict) else None,
        data={"supported": [*KNOWN_PROTOCOL_VERSIONS], "requested": version},
    )


def meta_of(message: Any) -> dict[str, Any]:
    """Returns the ``_meta`` of a message's parameters; an empty one if there is none."""
    params = message.get("params") if isinstance(message, dict) else None
    meta = params.get("_meta") if isinstance(params, dict) else None
    return meta if isinstance(meta, dict) else {}


def protocol_error(
    code: int, message: str, *, status: int = 400, id_: Any = None, data: Any = None
) -> JSONResponse:
    """Returns an answer with an error of JSON-RPC 2.0 (section 5.1).

    Args:
        code: The error's code.
        message: What is wrong, and what to do.
        status: The status of the answer.
        id_: Of the request; None if it has none that can be read.
        data: More about the error; None for nothing.
    """
    error = {"code": code, "message": message} | ({} if data is None else {"data": data})
    return JSONResponse({"jsonrpc": "2.0", "id": id_, "error": error}, status_code=status)
