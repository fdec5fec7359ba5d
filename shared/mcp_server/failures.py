"""Errors of this app as MCP clients get them."""

from collections.abc import Iterator
from contextlib import contextmanager

import mcp_types as types
from mcp.shared.exceptions import MCPError

from shared.errors import BUG, Failure, GatewayError, NotFound, failure_of
from shared.telemetry import current_record

NOT_FOUND = failure_of(NotFound.status, NotFound.code)


@contextmanager
def protocol_errors() -> Iterator[None]:
    """Raises errors as those of the protocol, and records them: the status of the answer is 200."""
    try:
        yield
    except GatewayError as error:
        current_record().fail(error.failure)
        # Another exception would reach the client as an opaque internal error.
        code = types.INVALID_PARAMS if error.status < 500 else types.INTERNAL_ERROR
        raise MCPError(code, error.detail) from error
    except MCPError as error:
        cause = error.__cause__
        current_record().fail(cause.failure if isinstance(cause, GatewayError) else NOT_FOUND)
        raise
    except Exception:
        current_record().fail(BUG)
        raise


def tool_error(text: str, failure: Failure | None, tool: str | None = None) -> types.CallToolResult:
    """Returns the result of a tool that failed, and records the failure.

    Args:
        text: What went wrong, for the model.
        failure: What the log says; None where the failure is another server's.
        tool: The tool; None where the request itself failed.
    """
    if failure is not None:
        # The status of the answer is 200.
        current_record().fail(failure, tool)
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=True)
