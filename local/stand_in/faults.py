"""Faults that the stand-in can be told to make: `POST /faults` queues them, requests use them up."""

from collections import deque
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Fault(BaseModel):
    """What goes wrong with the next requests.

    Attributes:
        times: With how many requests it does.
        status: Answer with this status and an error in OpenAI's format.
        code: The error's code, such as ``insufficient_quota`` or ``content_filter``.
        message: The error's message.
        headers: Headers of the error, such as ``Retry-After``.
        delay: Seconds to wait before anything else.
        chunk_delay: Seconds to wait before every piece of a stream.
        cut: ``connection`` breaks the connection in the middle of the answer, ``clean`` ends it
            properly but too early.
        body: Answer 200 with this text, as JSON that it may not be.
        tool_arguments: What to write as the arguments of tool calls in place of JSON.
        call_tools: Names of tools to call, offered or not.
        finish_reason: What to give as the reason for the end.
        text: What to answer, before tool calls too, or to have heard.
        rejects: Names of parameters to refuse, in a chat completion, as models do that lack them.
        style: Whose habits a chat completion has: Azure's or Gemini's.
        filter_after: Let the content filter end the answer after so many words.
        as_url: Give this as the address of a picture or a finished video, and not the bytes.
        video_error: Let the video fail with this message, from its next ``GET`` on.
        bytes: Make the video's content this many bytes long, which hold no picture.
        no_thumbnail: Have none of the video.
        hold_video: Leave the video as far as it is at this ``GET``.

    What concerns videos may come with the ``POST`` that makes one or any ``GET`` of it, and stays.
    """

    model_config = ConfigDict(extra="forbid")

    times: int = Field(1, ge=1)
    status: int | None = None
    code: str | None = None
    message: str = "The stand-in was told to fail."
    headers: dict[str, str] = {}
    delay: float = 0
    chunk_delay: float = 0
    cut: Literal["connection", "clean"] | None = None
    body: str | None = None
    tool_arguments: str | None = None
    call_tools: list[str] | None = None
    finish_reason: str | None = None
    text: str | None = None
    rejects: list[str] = []
    style: Literal["azure", "gemini"] | None = None
    filter_after: int | None = Field(None, ge=0)
    as_url: str | None = None
    video_error: str | None = None
    bytes: int | None = Field(None, ge=0)
    no_thumbnail: bool = False
    hold_video: bool = False


class FaultQueue:
    """The faults to come, in order."""

    def __init__(self) -> None:
        self._faults: deque[Fault] = deque()

    def add(self, fault: Fault) -> None:
        """Appends a fault."""
        self._faults.append(fault)

    def clear(self) -> None:
        """Forgets all faults."""
        self._faults.clear()

    def next(self) -> Fault:
        """Returns what goes wrong with the next request; a fault without anything wrong if nothing."""
        if not self._faults:
            return Fault()
        fault = self._faults[0]
        fault.times -= 1
        if fault.times == 0:
            self._faults.popleft()
        return fault
