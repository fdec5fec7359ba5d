"""The protocol of toolsets: our own tools, and those of connections."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from shared.context import CallContext
from shared.errors import Failure, GatewayError
from shared.storage import Media

JsonObject = dict[str, Any]
CONNECTION_SEPARATOR = "__"
"""Stands between the names of a connection and of its tool; no tool of our own has it in its name."""


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """The description of a tool.

    Attributes:
        name: The name to call it by.
        title: The name to show to people.
        description: The description for models and people.
        input_schema: JSON Schema of its arguments.
        output_schema: JSON Schema of its result; None where it declares none.
        annotations: MCP's hints, such as ``readOnlyHint``.
        is_paid: Whether each call costs the operator money.
        only_named: Whether a chat offers it to its model only where the caller names it.
        icon: The file of its icon, beside those of the page; None for a tool without one.
    """

    name: str
    title: str
    description: str
    input_schema: JsonObject
    output_schema: JsonObject | None
    annotations: Mapping[str, Any]
    is_paid: bool = False
    only_named: bool = False
    icon: str | None = None


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The result of a call, or its error.

    Attributes:
        text: The result as text for models, or the error.
        structured: The result as a JSON object; None for an error or a tool without one.
        is_error: Whether the tool failed.
        failure: The failure for the log; None for a tool of another server, whose failures are its own.
        content: The parts of the result as MCP has them; None where there is nothing but the text.
        connection: What the names of the tools of its connection begin with; None for our own.
        error: The error of this app that the result stands for, where a connection's server failed.
        media: The media that one of our own tools made or found.
    """

    text: str
    structured: JsonObject | None = None
    is_error: bool = False
    failure: Failure | None = None
    content: Sequence[JsonObject] | None = None
    connection: str | None = None
    error: GatewayError | None = None
    media: Sequence[Media] = ()


class Toolset(Protocol):
    """Tools of one origin: our own, or those of a connected MCP server."""

    async def list(self, context: CallContext) -> Sequence[ToolSpec]:
        """Returns the tools that the caller may call."""
        ...

    async def call(self, name: str, arguments: JsonObject, context: CallContext) -> ToolResult:
        """Calls a tool; its error is a result with ``is_error``.

        Raises:
            NotFound: The toolset has no such tool.
            DeadlineExceeded: The request's budget is used up.
        """
        ...
