"""What requests are answered with in place of the stand-in's own answer: a script of rules.

A script is a JSON list of rules, read from a file (``python -m local stand-in --script FILE``) or
sent to ``POST /script``. The first rule that matches a request decides; without one the stand-in
answers by itself. The fields are those of `Rule`:

    [{"match": {"path": "images/", "body": "lighthouse"}, "status": 429, "times": 2},
     {"match": {"path": "chat/", "body": "weather", "round": 0}, "call_tools": ["get_weather"]},
     {"match": {"path": "chat/", "body": "weather"}, "text": "It rains."}]
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from shared.errors import complaints_of


class Match(BaseModel):
    """Which requests a rule is for; what is not given matches every request.

    Attributes:
        path: Regular expression, searched for in the path.
        body: Regular expression, searched for in the body as JSON text.
        round: For chat completions and responses: how often the model has called tools since the
            last message of the user.
    """

    model_config = ConfigDict(extra="forbid")

    path: str = ""
    body: str = ""
    round: int | None = None

    @field_validator("path", "body")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return pattern

    def fits(self, path: str, body: Any) -> bool:
        """Returns whether a request is one of them."""
        if self.round is not None and self.round != tool_rounds(body):
            return False
        text = json.dumps(body, ensure_ascii=False) if self.body else ""
        return bool(re.search(self.path, path) and re.search(self.body, text))


class Rule(BaseModel):
    """An answer, or a fault, for the requests that it matches.

    Attributes:
        match: Which requests it is for.
        times: For how many of them; null: for all. In a script file the default is null.
        status: Answer with this status and an error in OpenAI's format.
        code: The error's code, such as ``insufficient_quota`` or ``content_filter``.
        message: The error's message.
        headers: Headers of the error or of a video's job, such as ``Retry-After``.
        delay: Seconds to wait before anything else.
        chunk_delay: Seconds to wait before every piece of a stream.
        cut: ``connection`` breaks the connection in the middle of the answer, ``clean`` ends it
            properly but too early.
        body: Answer 200 with this text, as JSON that it may not be.
        text: What to answer, before tool calls too, or to have heard.
        call_tools: Names of tools to call, offered or not.
        tool_arguments: What to write as the arguments of tool calls, valid JSON or not.
        finish_reason: What to give as the reason for the end.
        filter_after: Let the content filter end the answer after so many words.
        rejects: Names of parameters to refuse in a chat completion, as models do that lack them.
        style: Whose habits a chat completion has: Azure's or Gemini's.
        as_url: Give this as the address of a picture or a finished video, and not the bytes.
        video_error: Let the video fail with this message, from its next ``GET`` on.
        bytes: Make the video's content this many bytes long, which hold no picture; or the samples of
            a wav or pcm clip, an even number.
        no_thumbnail: Have none of the video.
        hold_video: Leave the video as far as it is at this ``GET``.

    What concerns videos may come with the ``POST`` that makes one or any ``GET`` of it, and stays.
    """

    model_config = ConfigDict(extra="forbid")

    match: Match = Match()
    times: int | None = Field(1, ge=1)
    status: int | None = None
    code: str | None = None
    message: str = "The stand-in was told to fail."
    headers: dict[str, str] = {}
    delay: float = 0
    chunk_delay: float = 0
    cut: Literal["connection", "clean"] | None = None
    body: str | None = None
    text: str | None = None
    call_tools: list[str] | None = None
    tool_arguments: str | None = None
    finish_reason: str | None = None
    filter_after: int | None = Field(None, ge=0)
    rejects: list[str] = []
    style: Literal["azure", "gemini"] | None = None
    as_url: str | None = None
    video_error: str | None = None
    bytes: int | None = Field(None, ge=0)
    no_thumbnail: bool = False
    hold_video: bool = False


class Script:
    """The rules in force, in order."""

    def __init__(self, rules: list[Rule] | None = None) -> None:
        self._rules = rules or []

    def add(self, rule: Rule) -> None:
        """Appends a rule."""
        self._rules.append(rule)

    def clear(self) -> None:
        """Drops all rules."""
        self._rules.clear()

    def find(self, path: str, body: Any) -> Rule:
        """Returns the first rule for a request and uses it up; one that changes nothing if none is."""
        for rule in self._rules:
            if rule.match.fits(path, body):
                if rule.times is not None:
                    rule.times -= 1
                    if rule.times == 0:
                        self._rules.remove(rule)
                return rule
        return Rule()


def load_script(path: Path) -> list[Rule]:
    """Returns the rules of a script file.

    Raises:
        ValueError: The file cannot be read or is not a script; the text says what is wrong.
    """
    try:
        rows = TypeAdapter(list[dict[str, Any]]).validate_json(path.read_bytes())
        return TypeAdapter(list[Rule]).validate_python([{"times": None, **row} for row in rows])
    except OSError as error:
        raise ValueError(f"{path}: the script cannot be read: {error.strerror}") from error
    except ValidationError as error:
        problems = [f"{_place(found['loc'])}: {found['msg']}" for found in complaints_of(error)]
        raise ValueError(f"{path}: {'; '.join(problems)}") from error


def _place(steps: tuple[int | str, ...]) -> str:
    number, *names = steps or (None,)
    place = "the script" if number is None else f"rule {int(number) + 1}"
    return ", ".join([place, ".".join(map(str, names))] if names else [place])


def tool_rounds(body: Any) -> int:
    """Returns how often tools were called since the last message of the user.

    Args:
        body: Of a chat completion or a response; it may be anything.
    """
    rounds, was_call = 0, False
    given = body.get("messages", body.get("input")) if isinstance(body, Mapping) else None
    for message in given if isinstance(given, list) else []:
        # In a response each of several calls at once is an item of its own.
        is_call = str(message.get("type")).endswith("_call")
        if message.get("role") == "user":
            rounds = 0
        elif message.get("tool_calls") or (is_call and not was_call):
            rounds += 1
        was_call = is_call
    return rounds
