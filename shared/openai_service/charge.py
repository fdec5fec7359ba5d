"""One paid call of a provider: reserved before it is made, settled however it ends."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from shared.errors import GatewayError, ProviderCredentials, ProviderError
from shared.openai_service.metering import (
    NOTHING,
    Consumption,
    MeteredCall,
    Reservation,
    Settlement,
)
from shared.openai_service.provider_config import Provider
from shared.telemetry import current_record
from shared.tracing import ProviderSpan

CANCELLED = "cancelled"
"""Status of a call whose caller disconnected before the provider had answered."""

_PROVIDERS = {
    Provider.OPENAI: "openai",
    Provider.AZURE: "azure.ai.openai",
    Provider.GEMINI: "gcp.gemini",
}
"""The names of providers in OpenTelemetry's conventions."""


class Charge:
    """A paid call while it is made.

    Attributes:
        span: The span of the call.
    """

    def __init__(self, call: MeteredCall, reservation: Reservation | None) -> None:
        self.span = ProviderSpan(
            call.operation_name, _PROVIDERS.get(call.provider, call.label), call.model, call.host
        )
        self._reservation = reservation
        self._started = monotonic()
        self._attempts = 0
        self._was_reached = False
        self._consumption: Consumption | None = None
        self._model: str | None = None
        self._has_output = False

    @property
    def reference(self) -> str | None:
        """Names the record of the call, for a refund; None where none is kept."""
        return self._reservation.reference if self._reservation else None

    @property
    def cost(self) -> float | None:
        """US dollars, an estimate until the call has ended; None where nobody knows or counts."""
        return self._reservation.cost if self._reservation else None

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Notes that the block sends a request, and whether that may have reached the provider."""
        self._attempts += 1
        has_left = True
        try:
            yield
        except ProviderError as error:
            has_left = not _never_left(error)
            raise
        finally:
            self._was_reached = self._was_reached or has_left

    def note_output(self) -> None:
        """Notes that some of the answer has come, so that an error does not make the call free."""
        if not self._has_output:
            self._has_output = True
            self.span.note_first_output()

    def report(self, consumption: Consumption | None, model: str | None = None) -> None:
        """Notes what the provider reported.

        Args:
            consumption: What the call used; None where the provider did not say.
            model: The model that answered, where the provider names it.
        """
        self._consumption, self._model = consumption, model or None

    def end(self, error: BaseException | None) -> None:
        """Settles the call."""
        self._end_span(error)
        if (reported := self._consumption) is not None:
            current_record().add_tokens(reported.input_tokens, reported.output_tokens)
        if self._reservation is None:
            return
        settlement = Settlement(
            consumption=self._used(error),
            model=self._model,
            status=_status(error),
            attempts=self._attempts,
            was_reached=self._was_reached,
            seconds=monotonic() - self._started,
        )
        self._reservation.settle(settlement)

    def _end_span(self, error: BaseException | None) -> None:
        used = self._consumption or NOTHING
        self.span.set(
            {
                "gen_ai.response.model": self._model,
                "gen_ai.usage.input_tokens": used.input_tokens,
                "gen_ai.usage.output_tokens": used.output_tokens,
                "http.request.resend_count": max(0, self._attempts - 1) or None,
            }
        )
        self.span.end(error)

    def _used(self, error: BaseException | None) -> Consumption | None:
        if self._consumption is not None:
            return self._consumption
        if not self._was_reached:
            return NOTHING
        if isinstance(error, ProviderError) and error.is_before_output and not self._has_output:
            return NOTHING
        return None


def _never_left(error: ProviderError) -> bool:
    """Returns whether an error says that no request reached the provider."""
    if isinstance(error, ProviderCredentials):
        # Without a status it is our own identity that failed.
        return error.reason is None
    return not getattr(error, "was_sent", True)


def _status(error: BaseException | None) -> str:
    if error is None:
        return "ok"
    if isinstance(error, GatewayError):
        return error.failure.code or error.code
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return CANCELLED
    return GatewayError.code
