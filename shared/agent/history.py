"""Stored runs: as much of them as the model's budget takes, and the answer of a complete one."""

import json
from collections.abc import AsyncIterable, Mapping, Sequence
from math import ceil
from typing import Any

from shared.agent.calls import decode_arguments, stored_text
from shared.agent.events import AgentAnswer, ToolCallRecord, with_cost
from shared.conversations import AssistantLine, EndLine, Line, ToolLine, UserLine
from shared.media_parts import StoredPart

Message = dict[str, Any]

BYTES_PER_TOKEN = 4
MESSAGE_TOKENS = 4
"""Tokens around each message, for its role."""

_UNKNOWN_OUTCOME = "Error: The call was broken off; its outcome is not known."


def estimate_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """Returns about how many tokens messages have: one for four bytes of UTF-8, and four for each.

    Tokenizers differ from model to model. English has about four characters in a token; other
    scripts have fewer, but need more bytes for each. Pictures and files count as `StoredPart` says.
    """
    return sum(
        MESSAGE_TOKENS + _part_tokens(message) + ceil(_size(message) / BYTES_PER_TOKEN)
        for message in messages
    )


async def select_history(runs: AsyncIterable[Sequence[Line]], max_tokens: int) -> list[Message]:
    """Returns the newest whole runs that fit, in the order of their writing.

    Whole runs, so that no tool call is separated from its result. Large tool results shrink to their
    media links, but in the newest run only where it does not fit otherwise.

    Args:
        runs: The runs as their lines, newest first; not read further than needed.
        max_tokens: Maximum tokens by `estimate_tokens`.
    """
    chosen: list[list[Message]] = []
    left = max_tokens
    is_newest = True
    async for run in runs:
        messages = messages_of(run, shrink=not is_newest)
        if is_newest and estimate_tokens(messages) > left:
            messages = messages_of(run, shrink=True)
        left -= estimate_tokens(messages)
        if left < 0:
            break
        if messages:
            is_newest = False
            chosen.append(messages)
    return [message for messages in reversed(chosen) for message in messages]


def _nothing(_: object) -> None:
    return None


def messages_of(run: Sequence[Line], *, shrink: bool) -> list[Message]:
    """Returns one run as the Chat Completions API takes it; nothing where nothing was answered.

    The parts of a message stay `StoredPart`: their files are read once it is known which runs fit.

    A run that failed at once is left out: its caller was told of the failure and asks again.
    """
    messages: list[Message] = []
    results: dict[str, Message] = {}
    for line in run:
        match line:
            case UserLine():
                content = [*line.parts] if line.parts else line.content
                messages.append({"role": "user", "content": content})
            case AssistantLine():
                message, results = assistant_message(line, _UNKNOWN_OUTCOME)
                messages += [message, *results.values()]
            case ToolLine() if line.call_id in results:
                results[line.call_id]["content"] = stored_text(
                    line.result, is_error=line.is_error, shrink=shrink
                )
    return messages if len(messages) > 1 else []


def assistant_message(line: AssistantLine, result: str = "") -> tuple[Message, dict[str, Message]]:
    """Returns an answer of the model, and the messages for the results of its calls by their ids.

    Args:
        line: The answer.
        result: Stands for the results until they are known.
    """
    if not line.tool_calls:
        return {"role": "assistant", "content": line.content}, {}
    calls = [call.as_message_part() for call in line.tool_calls]
    message = {"role": "assistant", "content": line.content or None, "tool_calls": calls}
    results = {
        call.id: {"role": "tool", "tool_call_id": call.id, "content": result}
        for call in line.tool_calls
    }
    return message, results


def answer_of(lines: Sequence[Line], conversation_id: str | None) -> AgentAnswer:
    """Returns the answer of a complete run."""
    arguments: dict[str, str] = {}
    records: list[ToolCallRecord] = []
    text = ""
    for line in lines:
        match line:
            case AssistantLine():
                text = line.content
                arguments = {call.id: call.arguments for call in line.tool_calls}
            case ToolLine():
                records.append(
                    ToolCallRecord(
                        name=line.name,
                        arguments=decode_arguments(arguments.get(line.call_id, "")),
                        result=line.result,
                        is_error=line.is_error,
                        duration_ms=line.duration_ms,
                    )
                )
            case EndLine():
                return AgentAnswer(
                    answer=text,
                    conversation_id=conversation_id,
                    model=line.model or "",
                    finish_reason=line.finish_reason,
                    tool_calls=records,
                    usage=with_cost(line.usage, line.cost_usd),
                    turns=line.turns,
                )
    raise ValueError("the run has no end")


def _part_tokens(message: Mapping[str, Any]) -> int:
    content = message.get("content")
    parts = content if isinstance(content, list) else ()
    return sum(part.tokens for part in parts if isinstance(part, StoredPart))


def _size(message: Mapping[str, Any]) -> int:
    texts = (
        value if isinstance(value, str) else json.dumps(value, default=_nothing, ensure_ascii=False)
        for key, value in message.items()
        if key != "role" and value
    )
    return sum(len(text.encode(errors="surrogatepass")) for text in texts)
