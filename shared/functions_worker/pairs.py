"""What the library keeps of invocations and their requests, and what its log handler goes by."""

import asyncio
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from time import monotonic
from typing import Any

from starlette.responses import Response

PATIENCE_SECONDS = 30.0
"""How long an invocation waits for its request, and a request for its invocation."""
LOOK_SECONDS = 5.0

_LIBRARIES = ("azure_functions_runtime", "azure_functions_worker")
_TASK_ATTRIBUTE = "__azure_function_invocation_id__"
"""Where the worker's log handler looks first: https://github.com/Azure/azure-functions-python-worker,
`get_current_invocation_id`. Tasks inherit it from the task that starts them."""
_CONTEXT_VARIABLE = "invocation_id_cv"
"""Where it looks next, and in threads, which inherit the context and no attributes of tasks."""

logger = logging.getLogger(__name__)


class Pairs:
    """The library's records of invocations and their requests.

    Args:
        patience_seconds: How long one side of a pair waits for the other.
    """

    def __init__(self, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._patience = patience_seconds
        self._alone_since: dict[str, float] = {}
        self._ended: set[str] = set()

    def close(self, invocation_id: str) -> None:
        """Drops the record of an answered request, and ends an invocation that did not get it."""
        for references in _references():
            reference = references.get(invocation_id)
            if reference is not None and _lacks_request(reference):
                self._end(invocation_id, reference)
            else:
                references.pop(invocation_id, None)

    async def watch(self) -> None:
        """Ends, until it is cancelled, what waits in vain."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                self.end_unpaired()
            except Exception:
                logger.exception("Invocations without a request cannot be ended in this worker")
                return

    def end_unpaired(self) -> None:
        """Ends invocations whose request never came, and requests whose invocation never came.

        Such a request is one that the server itself refused before it was routed.
        """
        now = monotonic()
        alone: dict[str, float] = {}
        for references in _references():
            for invocation_id, reference in list(references.items()):
                if invocation_id in self._ended:
                    del references[invocation_id]
                elif _is_alone(reference):
                    alone[invocation_id] = self._alone_since.get(invocation_id, now)
        self._ended.clear()
        for references in _references():
            for invocation_id in alone.keys() & references.keys():
                if now - alone[invocation_id] >= self._patience:
                    del alone[invocation_id]
                    self._end(invocation_id, references[invocation_id])
        self._alone_since = alone

    def _end(self, invocation_id: str, reference: Any) -> None:
        if _lacks_invocation(reference):
            logger.warning("A request whose invocation did not come is answered with an error")
            # Raised by the library to whoever waits for a response.
            reference.http_response = TimeoutError("The invocation of this request did not come.")
        else:
            with logging_for(invocation_id):
                logger.warning("An invocation whose request did not come is ended")
            # No request: the library takes that for a failure of the invocation.
            reference.http_request = None
            # Its own record of that is dropped at the next look: until then it may be read.
            self._ended.add(invocation_id)


@contextmanager
def logging_for(invocation_id: str) -> Iterator[None]:
    """Makes the worker's log handler name an invocation in what the block and its tasks log."""
    task = asyncio.current_task()
    before = getattr(task, _TASK_ATTRIBUTE, None)
    libraries = (sys.modules.get(name) for name in _LIBRARIES)
    variables = [getattr(library, _CONTEXT_VARIABLE, None) for library in libraries]
    tokens = [
        (variable, variable.set(invocation_id))
        for variable in variables
        if isinstance(variable, ContextVar)
    ]
    # Tasks of the interpreter's own class take no attributes; those of the worker do.
    with suppress(AttributeError):
        setattr(task, _TASK_ATTRIBUTE, invocation_id)
    try:
        yield
    finally:
        with suppress(AttributeError):
            setattr(task, _TASK_ATTRIBUTE, before)
        for variable, token in tokens:
            variable.reset(token)


def hand_over(invocation_id: str, response: Response) -> bool:
    """Gives a response to the library's server; returns whether that waits for it no more."""
    for references in _references():
        reference: Any = references.get(invocation_id)
        came = getattr(reference, "http_response_available_event", None)
        if isinstance(came, asyncio.Event) and hasattr(reference, "http_response"):
            reference.http_response = response
            return came.is_set()
    return False


def _references() -> Iterator[dict[str, Any]]:
    """Yields the records of the worker's library, whichever is there."""
    for name in _LIBRARIES:
        coordinator = getattr(sys.modules.get(f"{name}.http_v2"), "http_coordinator", None)
        references = getattr(coordinator, "_context_references", None)
        if isinstance(references, dict):
            yield references


def _is_alone(reference: Any) -> bool:
    return _lacks_request(reference) or _lacks_invocation(reference)


def _lacks_request(reference: Any) -> bool:
    came = getattr(reference, "http_request_available_event", None)
    return came is not None and not came.is_set()


def _lacks_invocation(reference: Any) -> bool:
    # The invocation takes the request away as soon as both are there.
    return getattr(reference, "http_request", None) is not None
