"""What the agent and the MCP server see of tools, wherever these run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from shared.context import CallContext
from shared.errors import Failure

JsonObject = dict[str, Any]
CONNECTION_SEPARATOR = "__"
"""Stands between the names of a connection and of its tool; no tool of our own has it in its name."""


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """What a caller is told about a tool.

    Attributes:
        name: The name to call it by.
        title: The name to show to people.
        description: What it does, for models and people.
        input_schema: JSON Schema of its arguments.
        output_schema: JSON Schema of its result; None where it declares none.
        annotations: MCP's hints, such as ``readOnlyHint``.
        is_paid: Whether each call costs the operator money.
    """

    name: str
    title: str
    description: str
    input_schema: JsonObject
    output_schema: JsonObject | None
    annotations: Mapping[str, Any]
    is_paid: bool = False


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What came of a call.

    Attributes:
        text: The result as text for models, or what went wrong.
        structured: The result as a JSON object; None for an error or a tool without one.
        is_error: Whether the tool failed.
        failure: What the log says of it; None for a tool of another server, whose failures are its own.
    """

    text: str
    structured: JsonObject | None = None
    is_error: bool = False
    failure: Failure | None = None


class Toolset(Protocol):
    """Tools of one origin: our own, or those of a connected MCP server."""

    async def list(self, context: CallContext) -> Sequence[ToolSpec]:
        """Returns the tools that the caller may call."""
        ...

    async def call(self, name: str, arguments: JsonObject, context: CallContext) -> ToolResult:
        """Calls a tool; what goes wrong in it is a result with ``is_error``.

        Raises:
            NotFound: The toolset has no such tool.
            DeadlineExceeded: The request's budget is used up.
        """
        ...
