"""The calls to make for a model, in turn. Which provider has a model is in `endpoints.py`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from shared.errors import (
    ConfiguredModelNotFound,
    ForwardedError,
    ProviderCredentials,
    ProviderDisconnected,
    ProviderError,
    QuotaExceeded,
    RateLimited,
)
from shared.openai_service.client import ProviderCall
from shared.openai_service.endpoints import Endpoints
from shared.settings import Capability
from shared.telemetry import current_record

_NEVER_BILLED = (ConfiguredModelNotFound, ProviderCredentials, QuotaExceeded, RateLimited)


def route(
    endpoints: Endpoints, capability: Capability, model: str | None
) -> Sequence[ProviderCall]:
    """Returns the calls of a model to make in turn: the second one and those after it are fallbacks.

    Args:
        endpoints: The providers.
        capability: What the provider is asked for.
        model: As the caller names it; None for the configured one.

    Raises:
        NotConfigured: There is no provider for it.
        InvalidRequest: It cannot be the name of a deployment.
        ModelNotAllowed: The caller may not use it.
    """
    found = endpoints.route(capability, model or None)
    configured = endpoints.find(capability)
    calls = []
    for position, endpoint in enumerate(found, 1):
        chosen = endpoint.choose_model(None)
        is_configured = configured is not None and chosen == configured.target
        calls.append(
            ProviderCall(
                capability,
                endpoint.config,
                chosen,
                is_configured,
                known_model=endpoint.model if is_configured else None,
                has_fallback=position < len(found),
            )
        )
    return calls


def falls_back(call: ProviderCall, error: ProviderError) -> bool:
    """Returns whether the next provider is to be asked after a failure.

    Not where the request is wrong. Media are paid for by the piece, so that another provider is asked
    only where this one cannot have begun: a second order could be a second bill.

    Args:
        call: The call that failed, before anything of its answer has been sent on.
        error: Its failure.
    """
    if not call.has_fallback or error.failure.outcome != "provider_error":
        return False
    if call.capability is not Capability.CHAT and not _is_unbilled(error):
        return False
    current_record().drop_provider(call.config.label, call.model)
    return True


@contextmanager
def falling_back(call: ProviderCall) -> Iterator[None]:
    """Suppresses a provider's error when the next provider is to be asked.

    The error of the last call that `route` returned is always raised.

    Args:
        call: The call that the block makes.
    """
    try:
        yield
    except ProviderError as error:
        if not falls_back(call, error):
            raise


def _is_unbilled(error: ProviderError) -> bool:
    if isinstance(error, ForwardedError):
        error = error.error
    if isinstance(error, ProviderDisconnected):
        return not error.was_sent
    return isinstance(error, _NEVER_BILLED)
