"""`search_tools` and `call_tool`: two tools in place of more than a model is to be told of."""

import json
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_json

from shared.connections import (
    ConnectionProblem,
    Connections,
    Wanted,
    find_remote_tool,
    open_remote_tools,
)
from shared.context import CallContext
from shared.errors import DeadlineExceeded, GatewayError, NotFound, complaints_of
from shared.selection.ranking import MAX_QUERY_CHARS, rank
from shared.tools import JsonObject, ToolResult, ToolSpec

SEARCH_TOOLS = "search_tools"
CALL_TOOL = "call_tool"

MAX_SEARCHED_BYTES = 2 * 1024 * 1024
"""Maximum bytes of the definitions that are searched; those of one caller."""

DEFAULT_FOUND, MAX_FOUND = 5, 20
MAX_FOUND_BYTES = 60_000
"""Maximum bytes of the definitions that a search returns; the first is always there."""


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class SearchArguments(_Arguments):
    """Arguments of `search_tools`."""

    query: str = Field(
        min_length=1,
        max_length=MAX_QUERY_CHARS,
        description="What the tool is to do, in a few words, such as 'create an issue in github'.",
    )
    limit: int = Field(
        DEFAULT_FOUND, ge=1, le=MAX_FOUND, description="Maximum tools to return; default 5."
    )


class CallArguments(_Arguments):
    """Arguments of `call_tool`."""

    name: Annotated[
        str, Field(min_length=1, max_length=256, description="Name of a tool from search_tools.")
    ]
    arguments: dict[str, Any] = Field({}, description="Its arguments, as its inputSchema says.")


SPECS = (
    ToolSpec(
        name=SEARCH_TOOLS,
        title="Search tools",
        description=(
            "Searches the tools of the connected MCP servers, and returns those that fit best, with "
            "names, descriptions and schemas. Call them with call_tool."
        ),
        input_schema={
            "type": "object",
            "properties": {
                "query": {
                    "type": "string",
                    "description": SearchArguments.model_fields["query"].description,
                },
                "limit": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": MAX_FOUND,
                    "description": SearchArguments.model_fields["limit"].description,
                },
            },
            "required": ["query"],
            "additionalProperties": False,
        },
        output_schema=None,
        annotations={
            "title": "Search tools",
            "readOnlyHint": True,
            "destructiveHint": False,
            "idempotentHint": True,
            "openWorldHint": True,
        },
    ),
    ToolSpec(
        name=CALL_TOOL,
        title="Call a tool",
        description=(
            "Calls a tool of a connected MCP server by the name that search_tools gives, with arguments "
            "that follow its inputSchema. It may do whatever that tool does."
        ),
        input_schema={
            "type": "object",
            "properties": {
                "name": {"type": "string", "description": "Name of a tool from search_tools."},
                "arguments": {
                    "type": "object",
                    "description": "Its arguments, as its inputSchema says.",
                    "properties": {},
                    "additionalProperties": True,
                },
            },
            "required": ["name"],
            "additionalProperties": False,
        },
        output_schema=None,
        annotations={
            "title": "Call a tool",
            "readOnlyHint": False,
            "destructiveHint": True,
            "idempotentHint": False,
            "openWorldHint": True,
        },
    ),
)


class ToolSearch:
    """A `Toolset` of two tools, which find and call those of a caller's connections.

    Args:
        connections: The manager.
        wanted: The connections that are searched; None for all.
        problems: Takes connections whose server is gone when a tool is called.
    """

    def __init__(
        self,
        connections: Connections,
        wanted: Wanted = None,
        problems: list[ConnectionProblem] | None = None,
    ) -> None:
        self._connections = connections
        self._wanted = wanted
        self._problems = [] if problems is None else problems

    async def list(self, context: CallContext) -> Sequence[ToolSpec]:
        """Returns the two."""
        return SPECS

    async def call(self, name: str, arguments: JsonObject, context: CallContext) -> ToolResult:
        """Searches, or calls a tool that a search found.

        Raises:
            NotFound: There is no such tool.
            DeadlineExceeded: The request's budget is used up.
        """
        if name not in (SEARCH_TOOLS, CALL_TOOL):
            raise NotFound(f"There is no tool '{name}'.")
        try:
            if name == SEARCH_TOOLS:
                return await self._search(SearchArguments.model_validate(arguments), context)
            return await self._call(CallArguments.model_validate(arguments), context)
        except ValidationError as error:
            return ToolResult(_sentence(error), is_error=True)
        except DeadlineExceeded as error:
            if not context.deadline.remaining():
                raise
            return ToolResult(error.detail, is_error=True, error=error)
        except GatewayError as error:
            return ToolResult(error.detail, is_error=True, error=error)

    async def _search(self, wanted: SearchArguments, context: CallContext) -> ToolResult:
        remote = await open_remote_tools(
            self._connections, context, self._wanted, max_bytes=MAX_SEARCHED_BYTES
        )
        ranked = await rank(wanted.query, remote.specs)
        found: list[JsonObject] = []
        size = 0
        for spec in ranked[: wanted.limit]:
            described = {
                "name": spec.name,
                "description": spec.description,
                "inputSchema": spec.input_schema,
            }
            size += len(json.dumps(described, ensure_ascii=False).encode())
            if found and size > MAX_FOUND_BYTES:
                break
            found.append(described)
        answer: JsonObject = {"tools": found, "searched": len(remote.specs)}
        if missing := [each.for_model for each in remote.problems if each.reason != "left_out"]:
            answer["problems"] = missing
        if not found:
            answer["hint"] = "No tool has a word of the query. Use other words."
        return ToolResult(to_json(answer).decode(), answer)

    async def _call(self, call: CallArguments, context: CallContext) -> ToolResult:
        try:
            tool = await find_remote_tool(self._connections, call.name, context, self._wanted)
        except NotFound as error:
            detail = f"{error.detail} {SEARCH_TOOLS} finds their names; others are called directly."
            return ToolResult(detail, is_error=True, error=error)
        result = await tool.call(call.name, call.arguments, context)
        self._problems += [each for each in tool.problems if each not in self._problems]
        return result


def _sentence(error: ValidationError) -> str:
    faults = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in complaints_of(error)]
    return f"The arguments are wrong. {'; '.join(faults[:5])}."
