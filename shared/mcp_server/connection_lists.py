"""Resources, templates and prompts of connections, as MCP clients see them, by their names here."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import mcp_types as types

from shared.connections import Completion, ConnectionProblem, Reference, RemoteList, Source
from shared.mcp_server.content import of_kinds
from shared.mcp_server.relay import CONNECTION_SCHEME, check_size, named_here, resource_uri
from shared.tools import CONNECTION_SEPARATOR, JsonObject

LIST_TTL_MS = 60_000
"""Milliseconds for which a list may be kept: as long as we keep those of connections."""

PROBLEMS = "openai-mcp-functions/connection-problems"
"""Where the ``_meta`` of a list tells of connections of which something is missing."""

# Icons are left out: clients would load them from wherever a stranger's server says.
_SHOWN = ("description", "mimeType", "size", "annotations", "arguments")


def caching(problems: Sequence[ConnectionProblem]) -> dict[str, Any]:
    """Returns the hints of a list that has entries of connections, and what it says of problems."""
    return {
        # Another caller has other connections.
        "cache_scope": "private",
        "ttl_ms": 0 if problems else LIST_TTL_MS,
        "_meta": {PROBLEMS: [asdict(problem) for problem in problems]} if problems else None,
    }


def resources_of(listed: RemoteList) -> Sequence[types.Resource]:
    """Returns resources of connections."""
    return [
        types.Resource.model_validate(
            {**_described(source, entry), "uri": resource_uri(source.prefix, entry["uri"])}
        )
        for source, entry in listed.entries
    ]


def templates_of(listed: RemoteList) -> Sequence[types.ResourceTemplate]:
    """Returns templates of connections' resources."""
    return [
        types.ResourceTemplate.model_validate(
            {
                **_described(source, entry),
                "uriTemplate": resource_uri(source.prefix, entry["uriTemplate"]),
            }
        )
        for source, entry in listed.entries
    ]


def prompts_of(listed: RemoteList) -> Sequence[types.Prompt]:
    """Returns prompts of connections, named as their tools are: CONNECTION__PROMPT."""
    return [
        types.Prompt.model_validate(_described(source, entry)) for source, entry in listed.entries
    ]


def relayed_prompt(prefix: str, answer: JsonObject, kinds: frozenset[str]) -> types.GetPromptResult:
    """Returns what a connection's server answered for a prompt.

    Args:
        prefix: What the names of the connection's tools begin with.
        answer: The answer.
        kinds: The kinds of content that the client takes; parts of others become text.

    Raises:
        TooLarge: It has more characters than clients take.
    """
    messages = answer.get("messages") or []
    check_size(messages, "prompt")
    parts = of_kinds((named_here(each["content"], prefix) for each in messages), kinds)
    named = [{**each, "content": part} for each, part in zip(messages, parts, strict=True)]
    return types.GetPromptResult.model_validate(
        {"description": answer.get("description"), "messages": named}
    )


def reference_of(params: types.CompleteRequestParams) -> tuple[str, Reference] | None:
    """Returns the connection that is to complete an argument, and what of it; None for our own."""
    if isinstance(params.ref, types.PromptReference):
        prefix, _, name = params.ref.name.partition(CONNECTION_SEPARATOR)
        return prefix, ("prompt", name)
    if not params.ref.uri.startswith(CONNECTION_SCHEME):
        return None
    prefix, _, uri = params.ref.uri.removeprefix(CONNECTION_SCHEME).partition("/")
    return prefix, ("resource", uri)


def completed(made: Completion) -> types.CompleteResult:
    """Returns a completion as the protocol has it."""
    return types.CompleteResult(
        completion=types.Completion(values=[*made.values], total=made.total, has_more=made.has_more)
    )


def _described(source: Source, entry: JsonObject) -> JsonObject:
    return {
        **{key: entry[key] for key in _SHOWN if key in entry},
        "name": f"{source.prefix}{CONNECTION_SEPARATOR}{entry['name']}",
        "title": f"{source.name}: {entry.get('title') or entry['name']}",
    }
