"""A call that the ledger has let through, until it is settled."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime

from shared.context import CallUsage
from shared.openai_service import Consumption, MeteredCall, Settlement
from shared.telemetry import current_record
from shared.usage.lines import Reserved, Settled
from shared.usage.log import DayLog
from shared.usage.prices import Prices


class BookedCall:
    """A call that was let through.

    Args:
        entry: Its reservation.
        call: The call.
        logs: Where it is reserved; none without storage.
        usage: What the call at the door has used.
        prices: What calls cost.
        clock: Tells the time.

    Attributes:
        cost: US dollars: what the call is estimated to cost, then what it cost; None where nobody knows.
    """

    def __init__(
        self,
        entry: Reserved,
        call: MeteredCall,
        logs: Sequence[DayLog],
        usage: CallUsage,
        prices: Prices,
        clock: Callable[[], datetime],
    ) -> None:
        self._entry = entry
        self._call = call
        self._logs = logs
        self._usage = usage
        self._prices = prices
        self._clock = clock
        self.cost = entry.usd

    @property
    def reference(self) -> str | None:
        """Names the record of the call for `Ledger.refund`; None where none is kept."""
        return f"{self._logs[-1].day.isoformat()}/{self._entry.id}" if self._logs else None

    def settle(self, settlement: Settlement) -> None:
        """Notes how the call ended; nothing waits for it to be stored."""
        line = self._line(settlement)
        self.cost = line.usd
        for log in self._logs:
            log.write(line)
        if line.is_request and not line.was_reached:
            self._usage.is_counted = False
        self._usage.end_call(line.usd)
        current_record().end_provider_call(line.usd, was_reached=line.was_reached)

    def _line(self, settlement: Settlement) -> Settled:
        entry, used = self._entry, settlement.consumption
        is_estimate = used is None
        usd = entry.usd
        tokens = entry.tokens
        if used is not None:
            tokens = used.tokens
            usd = 0.0 if used == Consumption() else self._cost(used, settlement.model)
            if usd is None and entry.usd is not None:
                # Reported in units that have no price: the estimate had others.
                usd, is_estimate = entry.usd, True
        return Settled(
            id=entry.id,
            at=self._clock().timestamp(),
            tokens_before=entry.tokens,
            usd_before=entry.usd or 0.0,
            tokens=tokens,
            usd=usd,
            is_estimate=is_estimate,
            was_reached=settlement.was_reached,
            is_request=entry.is_request,
            call=entry.call,
            reserved_at=entry.at,
            model=settlement.model or entry.model,
            input_tokens=used.input_tokens if used else None,
            cached_tokens=used.cached_tokens if used else None,
            output_tokens=used.output_tokens if used else None,
            reasoning_tokens=used.reasoning_tokens if used else None,
            images=used.images if used else entry.images,
            seconds=used.seconds if used else entry.seconds,
            status=settlement.status,
            attempts=settlement.attempts,
            ms=round(settlement.seconds * 1000),
        )

    def _cost(self, used: Consumption, model: str | None) -> float | None:
        # A price list that cannot be read must not end an answer that is there.
        with suppress(ArithmeticError, LookupError, ValueError):
            return self._prices.cost(self._call, used, model)
        return None
