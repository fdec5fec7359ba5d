"""The clock: a result that no model can make up."""

from datetime import UTC, datetime

from typing_extensions import TypedDict

from shared.context import CallContext
from shared.tools.tool import GetRoute, tool


class ServerTime(TypedDict):
    """Result of `ClockTools.server_time`."""

    server_time: str


class ClockTools:
    """Tools that tell the time."""

    @tool(
        title="Server time",
        read_only=True,
        idempotent=True,
        open_world=False,
        get_route=GetRoute("/server_time", name="server_time", tag="tools"),
    )
    async def server_time(self, context: CallContext) -> ServerTime:
        """Returns this server's current date and time in UTC.

        It begins with ``[MCP Server Time]``, which proves that it is no guess: quote it as it is.
        """
        return current_server_time()


def current_server_time() -> ServerTime:
    """Returns the time to the second, marked as ours."""
    now = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="seconds")
    return {"server_time": f"[MCP Server Time] {now} (UTC)"}
