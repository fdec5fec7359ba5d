"""How long leases, pauses and waits are."""

from dataclasses import dataclass

KEEP_ALIVE_SECONDS = 4.0
"""How long an idle connection to a provider or an MCP server is kept: less than the five seconds after
which uvicorn, on which vLLM and many MCP servers run, closes one. A request sent just then fails, and
one that costs money or calls a tool is not made again."""

BODY_SECONDS = 30.0
"""How long a client may send nothing of a request's body: mobile networks come back within seconds."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Lengths of leases, pauses and waits, in seconds; tests shorten them.

    Attributes:
        lease: How long a claim or a turn of a chat counts as under way after its last write.
        renewal: How often it is written while it is.
        first_poll: Pause before the second look at a claim that another request holds.
        longest_poll: The longest such pause.
        grace: How long a request waits for its last writes when its own time is over.
        storage_attempts: Maximum attempts at a storage operation outside of `keep_retrying`.
        storage_timeout: How long storage may be silent during one attempt.
        default_video_poll: Pause between two questions after a video whose provider names none.
        longest_video_poll: The longest pause that a provider can ask for.
        body: How long a client may send nothing of a request's body.
        ping: Silence in an event stream after which a comment keeps proxies from giving up, and in an
            MCP call after which its progress is told again.
        provider_backoff: About how long the first pause before another attempt at a provider is.
        tool: How long one tool call of a chat may take.
        listing: How long a caller waits for the list of one connection's server.
        completion: How long one connection's server has for completing an argument: people are typing.
        key_refresh: Seconds between two reads of stored keys; a change is in force everywhere after
            twice as long and the time of one read.
    """

    lease: float = 20.0
    renewal: float = 5.0
    first_poll: float = 0.1
    longest_poll: float = 1.0
    grace: float = 5.0
    storage_attempts: int = 5
    storage_timeout: float = 20.0
    default_video_poll: float = 5.0
    longest_video_poll: float = 300.0
    body: float = BODY_SECONDS
    ping: float = 15.0
    provider_backoff: float = 0.5
    tool: float = 120.0
    listing: float = 5.0
    completion: float = 5.0
    key_refresh: float = 10.0
