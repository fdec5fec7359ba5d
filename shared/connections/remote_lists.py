"""The resources, templates and prompts of a caller's connections, together, for one request."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from shared.connections.client.operations import JsonObject, Listing
from shared.connections.listings import Kind
from shared.connections.remote_tools import MAX_LISTS_AT_ONCE
from shared.connections.service import Connections
from shared.connections.sources import ConnectionProblem, Source, Wanted
from shared.context import CallContext
from shared.deadline import remaining_seconds
from shared.errors import GatewayError
from shared.parallel import gather_limited

MAX_ENTRIES = 500
MAX_ENTRY_BYTES = 400_000
"""Maximum entries of all connections together, and their bytes; a client may show them to a model."""


@dataclass(frozen=True, slots=True)
class RemoteList:
    """What connections list of one kind.

    Attributes:
        entries: Each entry as the protocol writes it, by the server's own names, with its connection.
        problems: Connections that could not be asked, or of whose lists something is left out.
    """

    entries: list[tuple[Source, JsonObject]] = field(default_factory=list)
    problems: list[ConnectionProblem] = field(default_factory=list)


async def open_remote_list(
    connections: Connections, kind: Kind, context: CallContext, wanted: Wanted
) -> RemoteList:
    """Asks the caller's connections, and the operator's, for what they list.

    Nobody waits for a server longer than its share, and each is asked at most once a minute.

    Args:
        connections: The manager.
        kind: What to list.
        context: Whose connections, and until when.
        wanted: Their ids or names; None for all.

    Raises:
        NotFound: A wanted connection does not exist.
        DeadlineExceeded: The request's budget is used up.
    """
    principal = context.principal.name
    sources, problems = await connections.sources.list(principal, wanted)

    async def ask(source: Source) -> Listing | GatewayError:
        try:
            return await connections.cached(kind, principal, source.client_id)
        except GatewayError as error:
            if not remaining_seconds():
                raise
            return error

    answers = await gather_limited(MAX_LISTS_AT_ONCE, map(ask, sources))
    result = RemoteList(problems=problems)
    left = MAX_ENTRY_BYTES
    for source, answer in zip(sources, answers, strict=True):
        if isinstance(answer, GatewayError):
            result.problems.append(ConnectionProblem.of(source, answer))
            continue
        taken = _that_fit(answer, MAX_ENTRIES - len(result.entries), left)
        left -= sum(size for _, size in taken)
        result.entries.extend((source, entry) for entry, _ in taken)
        if sentences := _left_out(answer, len(taken), kind):
            problem = ConnectionProblem(
                source.client_id, source.name, " ".join(sentences), "left_out"
            )
            result.problems.append(problem)
    return result


def _that_fit(listing: Listing, count: int, room: int) -> list[tuple[JsonObject, int]]:
    """Returns the first entries that fit, with their bytes."""
    taken: list[tuple[JsonObject, int]] = []
    for entry in listing[: max(0, count)]:
        size = len(json.dumps(entry, ensure_ascii=False).encode())
        room -= size
        if room < 0:
            break
        taken.append((entry, size))
    return taken


def _left_out(listing: Listing, taken: int, kind: Kind) -> Sequence[str]:
    omitted = len(listing) - taken
    too_many = (
        f"Of its {len(listing)} {kind} {omitted} are left out: {MAX_ENTRIES} are listed of all "
        "connections. Name the connections to use."
    )
    return [*([too_many] if omitted else ()), *listing.left_out]
