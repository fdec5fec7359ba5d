"""One call of a provider, as the record of its request and the operator's log tell of it."""

import asyncio
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

from shared.deadline import Deadline
from shared.errors import DeadlineExceeded, GatewayError, ProviderNotFound
from shared.openai_service.endpoints import Connection, Endpoint
from shared.settings import Capability
from shared.telemetry import current_record, loggable

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ProviderCall:
    """A call of a provider.

    Attributes:
        capability: What the provider is asked for.
        connection: How to reach it.
        model: The model or deployment; None where the call is about no model.
        is_configured: Whether the settings name this model, and not the caller.
    """

    capability: Capability
    connection: Connection
    model: str | None = None
    is_configured: bool = False

    @classmethod
    def with_model(
        cls, capability: Capability, endpoint: Endpoint, model: str | None
    ) -> "ProviderCall":
        """Returns the call of a model, None for the configured one."""
        called = model or endpoint.target
        return cls(capability, endpoint.connection, called, called == endpoint.target)


@contextmanager
def observed(call: ProviderCall, deadline: Deadline) -> Iterator[None]:
    """Notes a call in the record of its request, and logs one line where the provider fails.

    A request that the provider calls wrong is no failure of the provider, unless it does not know the
    configured model.

    Args:
        call: The call.
        deadline: When it ends without an answer.
    """
    record = current_record()
    record.add_provider(call.connection.provider, call.model)
    started = monotonic()
    try:
        yield
    except DeadlineExceeded:
        _tell(call, f"no answer within {monotonic() - started:.0f} seconds")
        raise
    except asyncio.CancelledError:
        # Whoever waits for this call under the same deadline may be the first to notice.
        if not deadline.remaining():
            _tell(call, f"no answer within {monotonic() - started:.0f} seconds")
        raise
    except GatewayError as error:
        if isinstance(error, ProviderNotFound) and call.is_configured:
            error.is_configured = True
            error.reason = "the provider does not know the configured model"
        if error.failure.outcome == "provider_error":
            _tell(call, getattr(error, "reason", None) or error.detail)
        raise


def describe(call: ProviderCall) -> dict[str, str | None]:
    """Returns what the log says of a call: no key, no path, no content."""
    return {
        "request_id": current_record().request_id,
        "host": call.connection.host,
        "provider": call.connection.provider,
        "capability": call.capability,
        "model": loggable(call.model),
    }


def _tell(call: ProviderCall, reason: str) -> None:
    line = {**describe(call), "reason": reason}
    # Calls of one request that run together fail together.
    if current_record().tells_first(f"{call.connection.host} {call.capability} {call.model}"):
        logger.warning("provider_failed %s", json.dumps(line))
