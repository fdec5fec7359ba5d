"""The agent's answer in the format of the Responses API, whole and as events.

Source: https://platform.openai.com/docs/api-reference/responses-streaming
"""

import secrets
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from time import time
from typing import Any

from pydantic_core import to_json

from shared.agent import AgentAnswer, ChatAnswer, ChatCompleted, ChatDelta, ChatEvent, ToolFinished
from shared.routes.v1.agent.client_tools import ClientTools
from shared.routes.v1.agent.work import WORK_ID, pack_work

MAX_SHOWN_CHARS = 300


def whole_response(answer: AgentAnswer, tools: ClientTools) -> dict[str, Any]:
    """Returns an answer as a response."""
    state = _Response(tools)
    for record in answer["tool_calls"]:
        list(state.tool(ToolFinished("", record, "")))
    if answer["answer"] or not answer.get("client_calls"):
        list(state.text(answer["answer"]))
    list(state.close())
    for call in answer.get("client_calls", ()):
        list(state.call(call))
    return state.document(answer)


async def response_events(
    events: AsyncGenerator[ChatEvent, None], tools: ClientTools
) -> AsyncGenerator[bytes, None]:
    """Yields the agent's events as those of a response."""
    state = _Response(tools)
    yield state.event("response.created", response=state.document(None))
    yield state.event("response.in_progress", response=state.document(None))
    has_text = False
    async with aclosing(events):
        async for event in events:
            if isinstance(event, ChatDelta):
                has_text = True
                for each in state.text(event.text):
                    yield each
            elif isinstance(event, ToolFinished):
                for each in state.tool(event):
                    yield each
            elif isinstance(event, ChatCompleted):
                if not has_text and event.answer["answer"]:
                    # A remembered answer comes at once.
                    for each in state.text(event.answer["answer"]):
                        yield each
                for each in state.close():
                    yield each
                for call in event.answer.get("client_calls", ()):
                    for each in state.call(call):
                        yield each
                document = state.document(event.answer)
                yield state.event(f"response.{document['status']}", response=document)


class _Response:
    """A response while it is made: its items, and the numbers of its events.

    Args:
        tools: The tools of the caller.
    """

    def __init__(self, tools: ClientTools) -> None:
        self._tools = tools
        self._id = f"resp_{secrets.token_hex(24)}"
        self._created_at = int(time())
        self._output: list[dict[str, Any]] = []
        self._number = 0
        self._texts: list[str] = []
        self._item: dict[str, Any] | None = None

    def event(self, kind: str, **fields: Any) -> bytes:
        """Returns the next event."""
        data = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return f"event: {kind}\ndata: ".encode() + to_json(data) + b"\n\n"

    def text(self, text: str) -> Iterator[bytes]:
        """Adds text to the message, which begins where none is open."""
        if self._item is None:
            self._texts = []
            self._item = self._message("in_progress", [])
            yield self.event("response.output_item.added", **self._at, item=self._item)
            yield self.event("response.content_part.added", **self._part, part=_text_part(""))
        self._texts.append(text)
        yield self.event("response.output_text.delta", **self._part, delta=text, logprobs=[])

    def close(self) -> Iterator[bytes]:
        """Ends the message that is open."""
        if self._item is None:
            return
        text = "".join(self._texts)
        part = _text_part(text)
        yield self.event("response.output_text.done", **self._part, text=text, logprobs=[])
        yield self.event("response.content_part.done", **self._part, part=part)
        item = self._message("completed", [part], self._item["id"])
        yield self.event("response.output_item.done", **self._at, item=item)
        self._output.append(item)
        self._item = None

    def tool(self, finished: ToolFinished) -> Iterator[bytes]:
        """Adds a tool's work as a summary of reasoning."""
        yield from self.close()
        record = finished.record
        seconds = record["duration_ms"] / 1000
        text = f"{record['name']}: done in {seconds:.1f} s"
        if record["is_error"]:
            shown = str(record["result"])[:MAX_SHOWN_CHARS]
            text = f"{record['name']}: failed after {seconds:.1f} s: {shown}"
        item: dict[str, Any] = {"id": f"{WORK_ID}{secrets.token_hex(24)}", "type": "reasoning"}
        packed = {"encrypted_content": pack_work(record)} if self._tools.keeps_work else {}
        summary = {"type": "summary_text", "text": text}
        at = {"item_id": item["id"], **self._at, "summary_index": 0}
        started = {**item, "summary": []}
        yield self.event("response.output_item.added", **self._at, item=started)
        empty = {**summary, "text": ""}
        yield self.event("response.reasoning_summary_part.added", **at, part=empty)
        yield self.event("response.reasoning_summary_text.delta", **at, delta=text)
        yield self.event("response.reasoning_summary_text.done", **at, text=text)
        yield self.event("response.reasoning_summary_part.done", **at, part=summary)
        done = {**item, "summary": [summary], **packed}
        yield self.event("response.output_item.done", **self._at, item=done)
        self._output.append(done)

    def call(self, call: Mapping[str, Any]) -> Iterator[bytes]:
        """Adds a call that the caller has to make."""
        item = self._tools.item(call)
        field, events = "arguments", "function_call_arguments"
        if item["type"] == "custom_tool_call":
            field, events = "input", "custom_tool_call_input"
        at = {"item_id": item["id"], **self._at}
        started = {**item, "status": "in_progress", field: ""}
        yield self.event("response.output_item.added", **self._at, item=started)
        yield self.event(f"response.{events}.delta", **at, delta=item[field])
        done = {"name": item["name"], field: item[field]}
        yield self.event(f"response.{events}.done", **at, **done)
        yield self.event("response.output_item.done", **self._at, item=item)
        self._output.append(item)

    def document(self, answer: ChatAnswer | None) -> dict[str, Any]:
        """Returns the response as it is now.

        Args:
            answer: The answer; None while there is none.
        """
        status, reason = "in_progress", None
        if answer is not None:
            status = "completed"
            reasons = {"length": "max_output_tokens", "content_filter": "content_filter"}
            reason = reasons.get(answer["finish_reason"] or "")
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created_at,
            "status": "incomplete" if reason else status,
            "error": None,
            "incomplete_details": {"reason": reason} if reason else None,
            "instructions": None,
            "metadata": {},
            "model": "agent",
            "output": list(self._output),
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "store": False,
            "temperature": None,
            "top_p": None,
            "tool_choice": "auto",
            "tools": self._tools.offered,
            "usage": None if answer is None else _usage(answer),
        }

    @property
    def _at(self) -> dict[str, Any]:
        return {"output_index": len(self._output)}

    @property
    def _part(self) -> dict[str, Any]:
        item_id = self._item["id"] if self._item else ""
        return {"item_id": item_id, **self._at, "content_index": 0}

    def _message(
        self, status: str, content: list[dict[str, Any]], item_id: str | None = None
    ) -> dict[str, Any]:
        return {
            "id": item_id or f"msg_{secrets.token_hex(24)}",
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": content,
        }


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(answer: ChatAnswer) -> dict[str, Any] | None:
    usage = answer["usage"]
    if usage is None:
        return None
    given, made = usage["prompt_tokens"] or 0, usage["completion_tokens"] or 0
    return {
        "input_tokens": given,
        "input_tokens_details": {"cached_tokens": usage["cached_tokens"] or 0},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": usage["reasoning_tokens"] or 0},
        "total_tokens": usage["total_tokens"] or given + made,
    }
