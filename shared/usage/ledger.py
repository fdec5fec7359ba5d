"""The ledger: every paid call of a provider is reserved before it is made, and settled afterwards.

`Ledger` is the meter of the provider layer, so no door can forget it. It learns from the scope that the
call runs in who is calling.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from shared.auth import Principal
from shared.context import CallContext, CallUsage, current_call
from shared.errors import PriceUnknown
from shared.openai_service import Consumption, MeteredCall, Settlement
from shared.settings import Limits
from shared.storage import Storage, owner_key
from shared.telemetry import current_record
from shared.usage.books import Books
from shared.usage.limits import Standing, headers_of, standings
from shared.usage.lines import Released, Reserved, Settled
from shared.usage.log import DayLog, void
from shared.usage.log_parts import read_all
from shared.usage.prices import Prices
from shared.usage.rollups import RollUps

SLOT_GRACE_SECONDS = 30.0
"""How long after its deadline a call keeps its slot of ``parallel`` at the latest."""

CLOSING_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Payer:
    """A principal whose limits a call counts against.

    Attributes:
        name: The principal.
        limits: Its limits; None where it has none.
        is_speaker: Whether it only speaks for the one that the call belongs to.
    """

    name: str
    limits: Limits | None
    is_speaker: bool = False


class Ledger:
    """Books calls of providers, and lets them through as far as limits allow.

    Args:
        storage: Where the logs are.
        prices: What calls cost.
        limits: Limits of principals that have none of their own.
    """

    def __init__(self, storage: Storage, prices: Prices, limits: Limits) -> None:
        self._storage = storage
        self._clock = storage.clock
        self._prices = prices
        self._limits = limits or None
        self.rollups = RollUps(storage.state, storage.clock)
        self.books = Books(storage.state, self.rollups, storage.clock)

    async def reserve(self, call: MeteredCall) -> "BookedCall":
        """Reserves what a call is estimated to use, before the provider is asked.

        Raises:
            LimitReached: A limit of the caller is reached.
            PriceUnknown: The caller's dollars are limited, and nobody knows what the call costs.
            StorageUnavailable: A limit applies, and cannot be counted.
            NotConfigured: A limit applies, and there is no storage.
            Conflict: The caller has cancelled the call.
        """
        context = current_call()
        if context is None:
            raise AssertionError(
                "A paid call runs in the scope of a call, as every door opens one."
            )
        context.usage.check_running()
        await self._prices.load()
        usd = self._prices.cost(call, call.estimate)
        payers = self._payers(context.principal)
        if usd is None and any(payer.limits and payer.limits.has_money for payer in payers):
            raise PriceUnknown(
                f"Nobody knows what a call of '{call.model}' costs, and your US dollars are limited. "
                "Use another model, or ask the operator to add it to the setting PRICES."
            )
        usage = context.usage
        entry = self._reservation(call, context, usd, is_request=not usage.is_counted)
        usage.is_counted = True
        try:
            logs = await self._book(entry, payers)
        except BaseException:
            usage.is_counted = usage.is_counted and not entry.is_request
            raise
        if entry.is_request and any(payer.limits and payer.limits.parallel for payer in payers):
            usage.at_end(lambda: _release(logs, entry))
        usage.begin_call()
        current_record().begin_provider_call()
        return BookedCall(entry, call, logs, usage, self._prices, self._clock)

    async def refund(self, principal: str, reference: str) -> None:
        """Settles at nothing what was paid for in advance and failed later, such as a video.

        Args:
            principal: Whose call it was.
            reference: Of its reservation.
        """
        day_text, _, call_id = reference.partition("/")
        owner, day = owner_key(principal), datetime.fromisoformat(day_text).date()
        await self.books.flush(principal)
        last: Settled | None = None
        async for batch in read_all(self._storage.state, owner, day):
            for entry in batch.entries:
                if isinstance(entry, Settled) and entry.id == call_id:
                    last = entry
        if last is None or not (last.tokens or last.usd or last.usd is None or last.seconds):
            return
        refunded = last.model_copy(
            update={
                "at": self._clock().timestamp(),
                "tokens_before": last.tokens,
                "usd_before": last.usd or 0.0,
                "tokens": 0,
                "usd": 0.0,
                "seconds": None,
                "status": "failed",
                "is_estimate": False,
            }
        )
        log = self.books.log(principal)
        if log.day != day:
            log = DayLog(self._storage.state, owner, day, self._clock)
        log.write(refunded)

    async def standings(self, principal: Principal) -> list[Standing]:
        """Returns how much of each limit of a principal is used.

        Where a key speaks for the principal, the limits of both hold: of each, the one with less left.

        Raises:
            NotConfigured: There is no storage.
            StorageUnavailable: Storage cannot be read.
        """
        least: dict[str, Standing] = {}
        for payer in self._payers(principal):
            if payer.limits is None:
                continue
            self._storage.check_configured()
            log = await self.books.log_with_month(payer.name)
            await log.refresh()
            for each in standings(payer.limits, log.totals, log.before, self._clock()):
                other = least.get(each.limit)
                if other is None or each.remaining < other.remaining:
                    least[each.limit] = each
        return list(least.values())

    def allowed(self, principal: Principal) -> Mapping[str, float]:
        """Returns how much each limit allows at most, without asking storage."""
        least: dict[str, float] = {}
        for payer in self._payers(principal):
            for name, allowed in payer.limits or ():
                if allowed is not None:
                    least[name] = min(allowed, least.get(name, allowed))
        return least

    async def aclose(self) -> None:
        """Waits some seconds for the last lines to be stored."""
        await self.books.aclose(CLOSING_SECONDS)

    def _limits_of(self, own: Limits | None) -> Limits | None:
        return own or self._limits

    def _payers(self, principal: Principal) -> list[_Payer]:
        payers = [_Payer(principal.name, self._limits_of(principal.limits))]
        if principal.spoken_for_by is not None:
            limits = self._limits_of(principal.speaker_limits)
            payers.insert(0, _Payer(principal.spoken_for_by, limits, is_speaker=True))
        return payers

    def _reservation(
        self, call: MeteredCall, context: CallContext, usd: float | None, *, is_request: bool
    ) -> Reserved:
        now = self._clock().timestamp()
        speaker = context.principal.spoken_for_by
        return Reserved(
            id=secrets.token_hex(16),
            at=now,
            call=context.usage.id,
            is_request=is_request,
            until=now + context.deadline.remaining() + SLOT_GRACE_SECONDS,
            request_id=current_record().request_id,
            door=context.door or "tools",
            tool=context.tool,
            speaker=None if speaker is None else owner_key(speaker),
            provider=call.label,
            model=call.model,
            tokens=call.estimate.tokens,
            usd=usd,
            images=call.estimate.images,
            seconds=call.estimate.seconds,
        )

    async def _book(self, entry: Reserved, payers: Sequence[_Payer]) -> list[DayLog]:
        """Reserves a call in the logs of all who pay for it, or in none."""
        if not self._storage.is_configured:
            if any(payer.limits for payer in payers):
                self._storage.check_configured()
            return []
        booked: list[DayLog] = []
        found: list[Standing] = []
        try:
            for payer in payers:
                line = entry.model_copy(update={"is_shadow": payer.is_speaker})
                if payer.limits is None:
                    log = self.books.log(payer.name)
                    log.write(line)
                else:
                    log = await self._log_for(payer.name, payer.limits)
                    found += await log.reserve(line, payer.limits)
                booked.append(log)
        except BaseException:
            for log in booked:
                log.write(void(entry, self._clock()))
            raise
        if context := current_call():
            context.usage.headers = headers_of(found, self._clock())
        return booked

    async def _log_for(self, principal: str, limits: Limits) -> DayLog:
        if limits.has_month:
            return await self.books.log_with_month(principal)
        return self.books.log(principal)


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


def _release(logs: Sequence[DayLog], entry: Reserved) -> None:
    for log in logs:
        log.write(Released(call=entry.call))
