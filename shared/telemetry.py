"""What one request did, gathered for its line in the log.

Whoever knows a fact adds it to the record of the request that it runs in: doors the failure, tools their
name, the provider layer the provider, the model and the tokens. The record travels in a context
variable, which tasks inherit from the task that starts them, those of the MCP library too.
"""

import logging
import re
from collections import Counter
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any

from shared.errors import Failure, Outcome

_SEVERITIES: tuple[Outcome, ...] = ("ok", "client_error", "provider_error", "error")
_NAME = re.compile(r"[A-Za-z0-9._:/@+ -]{1,128}")


class RequestRecord:
    """The facts about one request, beside its route and status.

    Nothing in it is content: names that a caller may have made up are left out unless they look like
    names.

    Args:
        request_id: The id of the request; None outside of any.
    """

    def __init__(self, request_id: str | None = None) -> None:
        self.request_id = request_id
        self._tools: Counter[str] = Counter()
        self._failed_tool: str | None = None
        self._provider: str | None = None
        self._model: str | None = None
        self._tokens: dict[str, int] = {}
        self._provider_calls = 0
        self._cost: float | None = 0.0
        self._failure: Failure | None = None
        self._events: set[str] = set()

    @property
    def outcome(self) -> Outcome:
        """The worst that happened so far."""
        return self._failure.outcome if self._failure else "ok"

    def add_tool(self, name: str) -> None:
        """Notes that one of our own tools is called."""
        self._tools[name] += 1

    def add_provider(self, provider: str, model: str | None) -> None:
        """Notes a call of a provider; of several the first counts, in a chat that for the answer."""
        if self._provider is None:
            self._provider, self._model = provider, safe_name(model)

    def drop_provider(self, provider: str, model: str | None) -> None:
        """Takes back a call that failed, so that the provider that answers in its place counts."""
        if (self._provider, self._model) == (provider, safe_name(model)):
            self._provider = self._model = None

    def add_tokens(self, input_tokens: int | None, output_tokens: int | None) -> None:
        """Adds the tokens that a provider counted; None is what it did not report."""
        for name, count in (("input_tokens", input_tokens), ("output_tokens", output_tokens)):
            if count is not None:
                self._tokens[name] = self._tokens.get(name, 0) + count

    def begin_provider_call(self) -> None:
        """Notes that a paid call of a provider was let through."""
        self._provider_calls += 1

    def end_provider_call(self, usd: float | None, *, was_reached: bool) -> None:
        """Notes how a paid call ended.

        Args:
            usd: What it costs in US dollars; None where nobody knows.
            was_reached: Whether the provider was reached; else it is no call of a provider.
        """
        self._provider_calls -= not was_reached
        self._cost = None if usd is None or self._cost is None else self._cost + usd

    def fail(self, failure: Failure, tool: str | None = None) -> None:
        """Notes a failure; of several the worst counts, and of equal ones the first.

        Args:
            failure: What happened.
            tool: The tool that failed; None where the request itself did.
        """
        if _severity(failure.outcome) > _severity(self.outcome):
            self._failure = failure
            self._failed_tool = tool

    def is_first(self, event: str) -> bool:
        """Returns whether an event is the first of its kind in this request: the log has it once."""
        is_first = event not in self._events
        self._events.add(event)
        return is_first

    def fields(self) -> dict[str, Any]:
        """Returns the facts that are there, under the names of the log line."""
        facts: dict[str, Any] = {
            "code": self._failure.code if self._failure else None,
            "outcome": self.outcome,
            "tool": self._failed_tool or next(iter(self._tools), None),
            "tool_calls": self._tools.total() if self._tools.total() > 1 else None,
            "provider": self._provider,
            "model": self._model,
            **self._tokens,
        }
        if self._provider_calls:
            facts["provider_calls"] = self._provider_calls
            facts["cost_usd"] = None if self._cost is None else round(self._cost, 10)
        return {name: fact for name, fact in facts.items() if fact is not None}


_current: ContextVar[RequestRecord] = ContextVar("request_record")


def current_record() -> RequestRecord:
    """Returns the record of the request that this task serves; outside of any a new one."""
    return _current.get(None) or RequestRecord()


def recording(record: RequestRecord) -> AbstractContextManager[None]:
    """Makes a record the current one of the block, and of the tasks that are started in it."""
    return _Recording(record)


class _Recording(AbstractContextManager[None]):
    """A block with a record of its own; a class, because every request opens one."""

    def __init__(self, record: RequestRecord) -> None:
        self._record = record

    def __enter__(self) -> None:
        self._outer = _current.set(self._record)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._outer)


def level_of(outcome: Outcome) -> int:
    """Returns the level to log an outcome at: what an operator has to look at is a warning."""
    return logging.INFO if outcome in ("ok", "client_error") else logging.WARNING


def safe_name(name: str | None) -> str | None:
    """Returns a name that a caller may have written, or ``other`` where it may be anything else."""
    return name if name is None or _NAME.fullmatch(name) else "other"


def _severity(outcome: Outcome) -> int:
    return _SEVERITIES.index(outcome)
