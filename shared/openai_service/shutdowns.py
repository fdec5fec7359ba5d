"""When models end: the dates that providers list or announce, and the warnings before them.

Source: https://platform.openai.com/docs/deprecations
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime

from shared.openai_service.provider_config import Provider, ProviderConfig
from shared.settings import Capability

WARNING_DAYS = 60
"""Days before the end of a model from which on there is a warning."""

_ANNOUNCED: Mapping[str, str] = {
    "gpt-image-1": "2026-12-01",
    "gpt-image-1-mini": "2026-12-01",
    "gpt-image-1.5": "2026-12-01",
    "gpt-5": "2026-12-11",
    "o3": "2026-12-11",
    "tts-1": "2027-01-06",
    "tts-1-hd": "2027-01-06",
    "gpt-4o-mini-tts": "2027-01-06",
    "gpt-4o": "2027-01-14",
    "gpt-4.1": "2027-01-14",
    "gpt-realtime": "2027-01-20",
    "gpt-realtime-mini": "2027-01-20",
    "whisper-1": "2027-02-26",
    "gpt-4o-transcribe": "2027-02-26",
    "gpt-4o-mini-transcribe": "2027-02-26",
    "gpt-5.1": "2027-04-01",
}
"""Dates that OpenAI has announced for its own models, for when its list of models is not asked for."""

_SUCCESSORS: Mapping[Capability, str] = {
    Capability.AUDIO: ", such as gpt-realtime-2.1-mini, which speaks over a WebSocket",
}


def announced_shutdown(config: ProviderConfig, model: str | None) -> str | None:
    """Returns the day on which a model ends as its provider has announced it, None where it has not."""
    return _ANNOUNCED.get(model or "") if config.provider is Provider.OPENAI else None


def days_until(shutdown_date: str | None) -> int | None:
    """Returns the days until a date, negative afterwards; None where there is none."""
    if shutdown_date is None:
        return None
    try:
        day = date.fromisoformat(shutdown_date[:10])
    except ValueError:
        return None
    return (day - datetime.now(UTC).date()).days


def shutdown_warning(
    capability: Capability, model: str | None, shutdown_date: str | None
) -> str | None:
    """Returns the warning that a configured model ends soon, None where it does not.

    Args:
        capability: What the model is for.
        model: The model.
        shutdown_date: The day on which it ends, in ISO 8601; None where none is known.
    """
    left = days_until(shutdown_date)
    if model is None or shutdown_date is None or left is None or left > WARNING_DAYS:
        return None
    day = shutdown_date[:10]
    when = f"ends on {day}, in {left} days" if left > 0 else f"ended on {day}"
    successor = _SUCCESSORS.get(capability, "")
    return (
        f"The model '{model}' for {capability} {when}. "
        f"Set OPENAI_{capability.upper()}_MODEL to another one{successor}."
    )
