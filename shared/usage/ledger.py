"""The ledger: every paid call of a provider is reserved before it is made, and settled afterwards.

`Ledger` is the meter of the provider layer, so no door can forget it. It learns from the scope that the
call runs in who is calling.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.auth import Principal
from shared.context import CallContext, current_call
from shared.errors import PriceUnknown
from shared.openai_service import MeteredCall
from shared.settings import Limits
from shared.storage import Storage, owner_key
from shared.telemetry import current_record
from shared.usage.booked_call import BookedCall
from shared.usage.books import Books
from shared.usage.limits import Standing, headers_of, standings
from shared.usage.lines import Released, Reserved, Settled, void
from shared.usage.log import DayLog
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

    async def reserve(self, call: MeteredCall) -> BookedCall:
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
        usd = self._prices.estimate(call)
        payers = self._payers(context.principal)
        if usd is None and any(payer.limits and payer.limits.has_money for payer in payers):
            raise PriceUnknown(
                f"Nobody knows what a call of {_models_of(call)} costs, and your US dollars are "
                "limited. Use another model, or ask the operator to add it to the setting PRICES."
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
            tokens=call.estimated_tokens,
            usd=usd,
            images=(call.picture or call).estimate.images,
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
                line = entry.model_copy(update={"is_shadow": True}) if payer.is_speaker else entry
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


def _models_of(call: MeteredCall) -> str:
    drawn = f" with a picture of '{call.picture.model}'" if call.picture else ""
    return f"'{call.model}'{drawn}"


def _release(logs: Sequence[DayLog], entry: Reserved) -> None:
    for log in logs:
        log.write(Released(call=entry.call))
