"""Calls of providers: SDK clients opened on first use, retries, and what the log says of failures."""

import asyncio
import importlib
import json
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from shared.deadline import check_deadline, remaining_seconds
from shared.errors import (
    ConfiguredModelNotFound,
    DeadlineExceeded,
    GatewayError,
    ProviderDisconnected,
    ProviderNotFound,
    RateLimited,
)
from shared.openai_service.charge import Charge
from shared.openai_service.endpoints import Endpoints
from shared.openai_service.metering import Consumption, Drawing, Meter, MeteredCall
from shared.openai_service.provider_config import ProviderConfig
from shared.settings import Capability, Settings
from shared.telemetry import current_record, safe_name
from shared.timing import Timing

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from shared.openai_service.sdk import Client

T = TypeVar("T")

MAX_ATTEMPTS = 4

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ProviderCall:
    """A call of a provider.

    Attributes:
        capability: What the provider is asked for.
        config: How to reach it.
        model: The model or deployment; None where the call is about no model.
        is_configured: Whether the settings name this model, and not the caller.
        known_model: The model behind the configured deployment, where the settings name it.
        has_fallback: Whether another provider is asked if this one fails, so that it is asked once only.
    """

    capability: Capability
    config: ProviderConfig
    model: str | None = None
    is_configured: bool = False
    known_model: str | None = None
    has_fallback: bool = False


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file in memory, sent as a part of a form.

    Attributes:
        name: A name whose extension tells the format: some providers go by it.
        content_type: Its media type.
        data: Its bytes.
    """

    name: str
    content_type: str
    data: bytes

    def as_part(self) -> tuple[str, bytes, str]:
        """Returns the file as the SDK takes it."""
        return (self.name, self.data, self.content_type)


def idempotency_headers(operation_id: str) -> dict[str, str]:
    """Returns headers by which a provider that knows them does one thing once; others ignore them.

    Args:
        operation_id: The same for every attempt at the same thing.
    """
    return {"Idempotency-Key": operation_id}


class Clients:
    """The SDK's clients, one for each provider, shared by the capabilities that use it.

    Nothing is imported, opened or sent before the first call.

    Args:
        settings: Where the endpoints come from.
        timing: How long the first pause before a retry is.
        meter: Lets paid calls through and counts them; None where nothing is counted.
    """

    def __init__(self, settings: Settings, timing: Timing, meter: Meter | None = None) -> None:
        self.endpoints = Endpoints(settings)
        self._in_azure = settings.in_azure
        self._identity_client_id = settings.azure_client_id
        self._first_backoff = timing.provider_backoff
        self._meter = meter
        self._open_clients: dict[ProviderConfig, Client] = {}
        self._opening = asyncio.Lock()

    @asynccontextmanager
    async def charge(
        self, call: ProviderCall, estimate: Consumption, drawing: Drawing | None = None
    ) -> AsyncIterator[Charge]:
        """Reserves a paid call for the block that makes it, and settles it when the block ends.

        Args:
            call: The call, with its model.
            estimate: What it uses at most, as far as can be told.
            drawing: What the provider may draw beside it; None where it has no such tool.

        Raises:
            LimitReached: A limit of the caller is reached; the block is not entered.
            PriceUnknown: The caller's dollars are limited, and nobody knows what the call costs.
            StorageUnavailable: A limit applies, and cannot be counted.
        """
        metered = MeteredCall(
            capability=call.capability,
            provider=call.config.provider,
            label=call.config.label,
            base_url=call.config.base_url,
            model=call.model or "",
            known_model=call.known_model,
            estimate=estimate,
            picture=None if drawing is None else self._picture(call, drawing),
        )
        charge = Charge(metered, await self._meter.reserve(metered) if self._meter else None)
        try:
            yield charge
        except BaseException as error:
            charge.end(error)
            raise
        charge.end(None)

    def _picture(self, call: ProviderCall, drawing: Drawing) -> MeteredCall:
        configured = self.endpoints.find(Capability.IMAGE)
        own = configured if drawing.model is None else None
        return MeteredCall(
            capability=Capability.IMAGE,
            provider=call.config.provider,
            label=call.config.label,
            base_url=call.config.base_url,
            model=drawing.model or (own.target if own else ""),
            known_model=own.model if own else None,
            estimate=drawing.estimate,
        )

    async def call(
        self,
        call: ProviderCall,
        send: "Callable[[AsyncOpenAI], Awaitable[T]]",
        charge: Charge | None,
        *,
        repeatable: bool = True,
    ) -> T:
        """Calls a provider, again after a 429 or a failed connection, while there is time for it.

        The SDK's own retries are off, because they know no deadline. A provider's ``Retry-After`` is
        honoured; where there is less time left than that the error is raised at once, so that the
        caller can wait instead.

        Args:
            call: Which provider to call, for what.
            send: Makes one attempt with the SDK's client.
            charge: What the call is charged to; None where it costs nothing.
            repeatable: Whether a request that may have arrived may be sent again. Paid media calls may
                not: the provider would bill them twice.

        Raises:
            ProviderError: The provider failed or refused.
        """
        # Before the provider's time begins: loading the SDK is none of it.
        client = await self._client(call.config)
        from shared.openai_service.sdk import provider_errors

        attempts = 1 if call.has_fallback else MAX_ATTEMPTS
        with observed(call):
            for attempt in range(1, attempts + 1):
                try:
                    with _attempt(call, charge), provider_errors(call.config):
                        return await send(client.api)
                except (RateLimited, ProviderDisconnected) as error:
                    pause = self._pause(error, attempt, repeatable=repeatable)
                    if attempt == attempts or pause is None or pause >= remaining_seconds():
                        raise
                await asyncio.sleep(pause)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def refund(self, principal: str, reference: str | None) -> None:
        """Settles at nothing what was paid for in advance and failed later.

        Args:
            principal: Whose call it was.
            reference: Of its charge; None where no record is kept.
        """
        if self._meter is not None and reference is not None:
            await self._meter.refund(principal, reference)

    async def aclose(self) -> None:
        """Closes all clients."""
        clients, self._open_clients = list(self._open_clients.values()), {}
        await asyncio.gather(*(client.aclose() for client in clients))

    def _pause(
        self, error: RateLimited | ProviderDisconnected, attempt: int, *, repeatable: bool
    ) -> float | None:
        """Returns the seconds to wait before the next attempt, None where there must be none."""
        if isinstance(error, ProviderDisconnected) and error.was_sent and not repeatable:
            return None
        if isinstance(error, RateLimited) and error.retry_after is not None:
            return error.retry_after
        # Jitter keeps instances that were refused together from coming back together.
        jitter = random.uniform(0.5, 1.0)  # noqa: S311  # Nothing depends on its being secret.
        return self._first_backoff * float(2 ** (attempt - 1)) * jitter

    async def _client(self, config: ProviderConfig) -> "Client":
        if client := self._open_clients.get(config):
            return client
        async with self._opening:
            if config not in self._open_clients:
                # Importing the SDK takes most of a second.
                self._open_clients[config] = await asyncio.to_thread(self._open, config)
        return self._open_clients[config]

    def _open(self, config: ProviderConfig) -> "Client":
        sdk = importlib.import_module("shared.openai_service.sdk")
        client: Client = sdk.open_client(
            config, in_azure=self._in_azure, identity_client_id=self._identity_client_id
        )
        return client


@contextmanager
def observed(call: ProviderCall) -> Iterator[None]:
    """Notes a call in the record of its request, and logs one line where the provider fails.

    A request that the provider calls wrong is no failure of the provider, unless it does not know the
    configured model. A call that is cancelled because its budget is used up is one.
    """
    record = current_record()
    record.add_provider(call.config.label, call.model)
    started = monotonic()
    try:
        yield
    except (DeadlineExceeded, asyncio.CancelledError):
        if not remaining_seconds():
            _log_failure(call, f"no answer within {monotonic() - started:.0f} seconds")
        raise
    except ProviderNotFound as error:
        if not call.is_configured:
            raise
        outage = ConfiguredModelNotFound(error.detail, error.retry_after)
        outage.is_before_output = error.is_before_output
        _log_failure(call, outage.reason)
        raise outage from error
    except GatewayError as error:
        if error.failure.outcome == "provider_error":
            _log_failure(call, getattr(error, "reason", None) or error.detail)
        raise


async def receive(pieces: AsyncIterator[T], call: ProviderCall) -> AsyncIterator[T]:
    """Yields the pieces of an answer as they come.

    Args:
        pieces: The pieces as the SDK reads them.
        call: The call that they answer.

    Raises:
        ProviderTruncated: The connection broke.
    """
    from shared.openai_service.sdk import provider_errors

    with observed(call), provider_errors(call.config):
        async for piece in pieces:
            check_deadline()
            yield piece


@contextmanager
def _attempt(call: ProviderCall, charge: Charge | None) -> Iterator[None]:
    """Notes an attempt in its charge, and logs at level debug how long it took and how it ended."""
    started = monotonic()
    result = "cancelled"
    try:
        if charge is None:
            yield
        else:
            with charge.attempt(), charge.span.current():
                yield
        result = "ok"
    except GatewayError as error:
        result = getattr(error, "reason", None) or error.code
        raise
    finally:
        milliseconds = round((monotonic() - started) * 1000, 1)
        if logger.isEnabledFor(logging.DEBUG):
            line = {**_describe(call), "duration_ms": milliseconds, "result": result}
            logger.debug("provider_attempt %s", json.dumps(line))


def _log_failure(call: ProviderCall, reason: str) -> None:
    line = {**_describe(call), "reason": reason}
    # Calls of one request that run together fail together.
    if current_record().is_first(f"{call.config.host} {call.capability} {call.model}"):
        logger.warning("provider_failed %s", json.dumps(line))


def _describe(call: ProviderCall) -> dict[str, str | None]:
    """Returns what the log says of a call: no key, no path, no content."""
    return {
        "request_id": current_record().request_id,
        "host": call.config.host,
        "provider": call.config.label,
        "capability": call.capability,
        "model": safe_name(call.model),
    }
