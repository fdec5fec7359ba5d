"""JSON-RPC batches, which revision 2025-03-26 has and which the SDK refuses.

A batch is split, its messages are answered side by side as if each had come alone, and the answers
share one event stream.
Source: https://modelcontextprotocol.io/specification/2025-03-26/basic/transports
"""

import asyncio
import json
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from shared.asgi import AsgiApplication, replay
from shared.disconnect import cancel_on_disconnect
from shared.mcp_server.messages import INVALID_REQUEST, complaint_about, protocol_error
from shared.outbound import EVENT_STREAM

MAX_BATCH_MESSAGES = 100
MAX_PARALLEL_MESSAGES = 8
BATCH_REVISION = "2025-03-26"

_SSE_HEADERS = [
    (b"content-type", EVENT_STREAM.encode()),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


def knows_batches(scope: Scope) -> bool:
    """Returns whether the revision of a request knows batches.

    Clients of that revision send no version header; later ones that send it have no batches.
    """
    version = Headers(scope=scope).get("mcp-protocol-version", BATCH_REVISION)
    return version == BATCH_REVISION


async def answer_batch(
    messages: list[Any], app: AsgiApplication, scope: Scope, receive: Receive, send: Send
) -> None:
    """Answers the messages of a batch in one event stream, or with 202 where none wants an answer.

    Args:
        messages: At most 100.
        app: Answers one message as if it were the whole body.
        scope: Of the whole request.
        receive: Of the whole request; its body has been read.
        send: Of the whole request.

    Raises:
        ClientDisconnect: The client has disconnected.
    """
    if not 0 < len(messages) <= MAX_BATCH_MESSAGES:
        sentence = f"A batch holds 1 to {MAX_BATCH_MESSAGES} messages."
        refusal = protocol_error(INVALID_REQUEST, sentence)
        await refusal(scope, receive, send)
        return
    wants_answer = any(complaint_about(each) or not _wants_no_answer(each) for each in messages)
    places = asyncio.Semaphore(MAX_PARALLEL_MESSAGES)

    async def answer_one(message: Any) -> None:
        async with places:
            answer = _EventWriter(send if wants_answer else None)
            if complaint := complaint_about(message):
                await protocol_error(INVALID_REQUEST, complaint)(scope, receive, answer)
                return
            # Every message has a scope of its own: the SDK's parts keep things in it.
            await app({**scope}, replay(json.dumps(message).encode()), answer)

    if wants_answer:
        await send({"type": "http.response.start", "status": 200, "headers": _SSE_HEADERS})
    async with cancel_on_disconnect(receive):
        await asyncio.gather(*map(answer_one, messages))
    if not wants_answer:
        await send({"type": "http.response.start", "status": 202, "headers": []})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


class _EventWriter:
    """The `send` of one message's answer: writes it as events into the stream of the batch.

    Args:
        send: The `send` of the batch; None where no answer is wanted.
    """

    def __init__(self, send: Send | None) -> None:
        self._send = send
        self._is_stream = False
        self._document = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            content_type = Headers(raw=message.get("headers", [])).get("content-type", "")
            self._is_stream = content_type.startswith(EVENT_STREAM)
            return
        body = message.get("body", b"")
        if self._is_stream:
            await self._write(body)
            return
        self._document += body
        if not message.get("more_body", False) and self._document:
            await self._write(b"event: message\r\ndata: " + self._document + b"\r\n\r\n")

    async def _write(self, body: bytes) -> None:
        if self._send is not None and body:
            await self._send({"type": "http.response.body", "body": body, "more_body": True})


def _wants_no_answer(message: Any) -> bool:
    if not isinstance(message, dict):
        return False
    is_notification = isinstance(message.get("method"), str) and "id" not in message
    is_response = "id" in message and ("result" in message or "error" in message)
    return is_notification or is_response
