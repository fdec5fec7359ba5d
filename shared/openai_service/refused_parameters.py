"""Parameters that a model or an older server refuses: left out or renamed after the first refusal.

Reasoning models take no ``temperature``, servers of an older API no ``max_completion_tokens``. Which
parameters a model refuses is not known in advance, and changes; the refusal names the parameter.
"""

import re
from collections.abc import Mapping, Set
from typing import Any

from shared.errors import ProviderRejected
from shared.openai_service.provider_config import Provider, ProviderConfig

REPLACEMENTS: Mapping[str, str | None] = {
    "temperature": None,
    "top_p": None,
    "parallel_tool_calls": None,
    "max_completion_tokens": "max_tokens",
}
"""Parameters that can be left out, each with the one to send in its place."""

_UNSUPPORTED = re.compile(
    r"unsupported|not support|unknown|unrecognized|unexpected|not permitted|forbidden",
    re.IGNORECASE,
)

_NAMES = re.compile(rf"\b({'|'.join({*REPLACEMENTS, *filter(None, REPLACEMENTS.values())})})\b")

_STRICT = frozenset({Provider.OPENAI, Provider.AZURE})
"""Providers that refuse messages with fields of other providers."""


class RefusedParameters:
    """Learns from refusals, for each model of each provider; a cache that may be lost."""

    def __init__(self) -> None:
        self._refused: dict[tuple[ProviderConfig, str], frozenset[str]] = {}

    def apply(
        self, config: ProviderConfig, parameters: Mapping[str, Any], refused: Set[str]
    ) -> dict[str, Any]:
        """Returns parameters without those that are known to be refused.

        Messages lose the fields that only another provider understands.

        Args:
            config: The provider to call.
            parameters: The parameters of the call.
            refused: The parameters of this very request that were refused.
        """
        refused = refused | self._refused.get((config, parameters["model"]), frozenset())
        adapted = _without(refused, parameters)
        if "extra_body" in adapted:
            adapted["extra_body"] = _without(refused, adapted["extra_body"])
        if config.provider in _STRICT:
            adapted["messages"] = [_plain(message) for message in adapted["messages"]]
        return adapted

    def learn(
        self, config: ProviderConfig, parameters: Mapping[str, Any], error: ProviderRejected
    ) -> str | None:
        """Notes which parameter was refused; returns it, or None where another attempt makes no sense.

        Args:
            config: The provider that refused.
            parameters: The parameters that were sent.
            error: The refusal.
        """
        if not _UNSUPPORTED.search(error.detail):
            return None
        # The first one named is refused; those that follow may be what to send in its place.
        named = _NAMES.search(error.detail)
        name = named.group(1) if named else ""
        sent = parameters.keys() | parameters.get("extra_body", {}).keys()
        if name not in REPLACEMENTS or name not in sent:
            return None
        if "extra_body" not in parameters:
            # A caller's own extra parameters say nothing about other requests.
            key = (config, parameters["model"])
            self._refused[key] = self._refused.get(key, frozenset()) | {name}
        return name


def _plain(message: Mapping[str, Any]) -> Mapping[str, Any]:
    calls = message.get("tool_calls")
    if not calls:
        return message
    plain = [{key: part[key] for key in part if key != "extra_content"} for part in calls]
    return {**message, "tool_calls": plain}


def _without(refused: Set[str], parameters: Mapping[str, Any]) -> dict[str, Any]:
    adapted = {name: value for name, value in parameters.items() if name not in refused}
    for name in refused & parameters.keys():
        if replacement := REPLACEMENTS[name]:
            adapted[replacement] = parameters[name]
    return adapted
