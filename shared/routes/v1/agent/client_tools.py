"""Tools that a caller of the model ``agent`` runs itself, and their calls in what it sends and gets.

The agent offers its model functions of the Chat Completions API. Tools of the Responses API become such
functions and calls of them are turned back: functions in namespaces, as Codex has them for its MCP
servers, get a name of their own, and tools that take a text become functions of one text.

Source: https://platform.openai.com/docs/api-reference/responses/create
"""

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.errors import InvalidRequest

MAX_TOOLS = 128
"""Maximum tools of a caller; OpenAI takes as many."""

_TEXT = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}
_ITEMS_WITH_TOOLS = ("additional_tools", "tool_search_output")
"""Kinds of items that bring tools, beside those of the request."""

_Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ClientTool:
    """A tool of the caller.

    Attributes:
        name: Its name.
        namespace: The namespace that it is in; None for none.
        is_text: Whether it takes a text and no JSON.
        fields: The tool as the caller sent it.
    """

    name: str
    namespace: str | None
    is_text: bool
    fields: _Fields

    def as_function(self, name: str) -> dict[str, Any]:
        """Returns it as the Chat Completions API takes it.

        Args:
            name: The name for the model.
        """
        function = {"name": name, "description": self.fields.get("description")}
        if self.is_text:
            function["parameters"] = _TEXT
        else:
            function |= {"parameters": self.fields.get("parameters")}
            function |= {"strict": self.fields.get("strict")}
        given = {key: value for key, value in function.items() if value is not None}
        return {"type": "function", "function": given}


class ClientTools:
    """The tools of the caller of a response, by the names that the model knows them by.

    What only OpenAI could run, such as ``web_search``, is left out.

    Attributes:
        keeps_work: Whether the caller sends back what the agent's own tools did.

    Args:
        fields: The body of the request.

    Raises:
        InvalidRequest: A tool has no name, or there are too many.
    """

    def __init__(self, fields: _Fields) -> None:
        found = [*_tools_of(fields, "")]
        for index, item in enumerate(_list(fields.get("input"))):
            if isinstance(item, Mapping) and item.get("type") in _ITEMS_WITH_TOOLS:
                found += _tools_of(item, f"input.{index}.")
        if len(found) > MAX_TOOLS:
            raise InvalidRequest.for_field("tools", f"Give at most {MAX_TOOLS} tools")
        names = [tool.name for tool in found]
        self._tools = {
            tool.name
            if names.count(tool.name) == 1 or tool.namespace is None
            else f"{tool.namespace}__{tool.name}": tool
            for tool in found
        }
        self.keeps_work = "reasoning.encrypted_content" in _list(fields.get("include"))
        self._names = {(each.namespace, each.name): name for name, each in self._tools.items()}

    @property
    def offered(self) -> list[dict[str, Any]]:
        """The tools as the caller sent them; of namespaces those that are in them."""
        return [dict(tool.fields) for tool in self._tools.values()]

    def as_functions(self) -> list[dict[str, Any]]:
        """Returns the tools as the Chat Completions API takes them."""
        return [tool.as_function(name) for name, tool in self._tools.items()]

    def choice(self, wanted: object) -> object:
        """Returns ``tool_choice`` as the Chat Completions API takes it.

        Raises:
            InvalidRequest: It is none of a tool of the caller.
        """
        if isinstance(wanted, Mapping) and wanted.get("type") in ("function", "custom"):
            name = self._names.get((wanted.get("namespace"), str(wanted.get("name"))))
            if name is not None:
                return {"type": "function", "function": {"name": name}}
        if wanted in (None, "auto", "none", "required"):
            return wanted
        raise InvalidRequest.for_field(
            "tool_choice", "Give 'auto', 'none', 'required' or one of the functions in tools"
        )

    def read_call(self, item: _Fields) -> dict[str, Any]:
        """Returns a call among the items of a caller as it stands in an assistant message."""
        name, arguments = str(item.get("name")), item.get("arguments")
        if item.get("type") == "custom_tool_call":
            arguments = json.dumps({"input": item.get("input")})
        known = self._names.get((item.get("namespace"), name), name)
        function = {"name": known, "arguments": arguments}
        return {"id": item.get("call_id"), "type": "function", "function": function}

    def item(self, call: _Fields) -> dict[str, Any]:
        """Returns a call of the model as an item of a response.

        Args:
            call: As it stands in an assistant message.
        """
        function = call["function"]
        tool = self._tools[function["name"]]
        item = {"status": "completed", "call_id": call["id"], "name": tool.name}
        if tool.namespace is not None:
            item["namespace"] = tool.namespace
        identifier, arguments = secrets.token_hex(24), function["arguments"]
        if tool.is_text:
            kind = {"id": f"ctc_{identifier}", "type": "custom_tool_call"}
            return {**kind, **item, "input": _text_of(arguments)}
        kind = {"id": f"fc_{identifier}", "type": "function_call"}
        return {**kind, **item, "arguments": arguments}


def read_functions(tools: object) -> list[dict[str, Any]]:
    """Returns the tools of a chat completion.

    Raises:
        InvalidRequest: One is no function, or there are too many.
    """
    if not isinstance(tools, list) or len(tools) > MAX_TOOLS:
        raise InvalidRequest.for_field("tools", f"Give a list of at most {MAX_TOOLS} tools")
    for index, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise InvalidRequest.for_field(
                f"tools.{index}", "The model 'agent' takes functions, each with a name"
            )
    return tools


def output_messages(item: _Fields) -> Sequence[dict[str, Any]]:
    """Returns the result of a call among the items of a caller as messages.

    The second one, if any, is of the user and has pictures: results are text in chat completions.
    """
    output = item.get("output")
    message = {"role": "tool", "tool_call_id": item.get("call_id"), "content": output}
    if not isinstance(output, list):
        return [message]
    parts = [part for part in output if isinstance(part, Mapping)]
    texts = [str(part["text"]) for part in parts if part.get("text")]
    pictures = [
        {"type": "image_url", "image_url": {"url": part["image_url"]}}
        for part in parts
        if isinstance(part.get("image_url"), str)
    ]
    message["content"] = "\n".join(texts)
    return [message, {"role": "user", "content": pictures}] if pictures else [message]


def _tools_of(holder: _Fields, prefix: str, namespace: str | None = None) -> Iterator[ClientTool]:
    for index, tool in enumerate(_list(holder.get("tools"))):
        path = f"{prefix}tools.{index}"
        kind = tool.get("type") if isinstance(tool, Mapping) else None
        if kind not in ("function", "custom", "namespace"):
            continue
        name = tool.get("name")
        if not isinstance(name, str) or not name:
            raise InvalidRequest.for_field(f"{path}.name", "Give the name of the tool")
        if kind != "namespace":
            yield ClientTool(name, namespace, kind == "custom", tool)
        elif namespace is None:
            yield from _tools_of(tool, f"{path}.", name)


def _text_of(arguments: str) -> str:
    """Returns the text that a model wrote for a tool; models do make mistakes."""
    try:
        return str(json.loads(arguments)["input"])
    except (ValueError, TypeError, LookupError):
        return arguments


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
