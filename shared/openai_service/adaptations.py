"""Parameters that a model or an older server refuses: left out, or renamed, once it has said so.

Reasoning models take no ``temperature``, servers of an older API no ``max_completion_tokens``. Which
they are is not known in advance, and changes; their refusal names the parameter.
"""

import re
from collections.abc import Mapping, Set
from typing import Any

from shared.errors import ProviderRejected
from shared.openai_service.endpoints import Connection, Provider

REMEDIES: Mapping[str, str | None] = {
    "temperature": None,
    "top_p": None,
    "parallel_tool_calls": None,
    "max_completion_tokens": "max_tokens",
}
"""What can be done without, and what to send in its place."""

_UNSUPPORTED = re.compile(
    r"unsupported|not support|unknown|unrecognized|unexpected|not permitted|forbidden",
    re.IGNORECASE,
)

_NAMES = re.compile(rf"\b({'|'.join({*REMEDIES, *filter(None, REMEDIES.values())})})\b")

_STRICT = frozenset({Provider.OPENAI, Provider.AZURE})
"""Who refuses messages with fields of other providers."""


class Adaptations:
    """What was learned from refusals, for each model of each provider; a cache that may be lost."""

    def __init__(self) -> None:
        self._refused: dict[tuple[Connection, str], frozenset[str]] = {}

    def apply(
        self, connection: Connection, parameters: Mapping[str, Any], refused: Set[str]
    ) -> dict[str, Any]:
        """Returns parameters without those that are known to be refused.

        A conversation that began with another provider loses what only that one wants back.

        Args:
            connection: Who is to be asked.
            parameters: What for.
            refused: What was refused of this very request.
        """
        refused = refused | self._refused.get((connection, parameters["model"]), frozenset())
        adapted = _without(refused, parameters)
        if "extra_body" in adapted:
            adapted["extra_body"] = _without(refused, adapted["extra_body"])
        if connection.provider in _STRICT:
            adapted["messages"] = [_plain(message) for message in adapted["messages"]]
        return adapted

    def learn(
        self, connection: Connection, parameters: Mapping[str, Any], error: ProviderRejected
    ) -> str | None:
        """Notes which parameter was refused, and returns it where trying again without it makes sense.

        Args:
            connection: Who refused.
            parameters: What was sent.
            error: The refusal.
        """
        if not _UNSUPPORTED.search(error.detail):
            return None
        # The first one named is refused; those that follow may be what to send in its place.
        named = _NAMES.search(error.detail)
        name = named.group(1) if named else ""
        sent = parameters.keys() | parameters.get("extra_body", {}).keys()
        if name not in REMEDIES or name not in sent:
            return None
        if "extra_body" not in parameters:
            # What one caller adds on their own says nothing about the requests of others.
            key = (connection, parameters["model"])
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
        if replacement := REMEDIES[name]:
            adapted[replacement] = parameters[name]
    return adapted
