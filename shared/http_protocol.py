"""How our servers read HTTP: uvicorn's protocol over httptools, with its gaps closed.

Behind the Functions host little of this can happen. The local host has nothing in front of it.
"""

from collections.abc import Iterable
from typing import Any

from httptools import HttpParserError
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

MAX_HEAD_BYTES = 64 * 1024
"""Maximum size of a request's head; the Functions host lets 40 KiB through."""
MAX_OPEN_REQUESTS = 16
"""Maximum requests of one connection that have no complete answer yet."""
MAX_IGNORED_BYTES = 100 * 1024 * 1024
"""Maximum of a body that is read after its answer, as much as the Functions host lets through.

Many clients read the answer only when they have sent all, and a connection that ends before loses it.
So it does where the client asked for its end with ``Connection: close``.
"""


class _RefusedError(Exception):
    """The request is refused; the client reads the message."""


class _NeedsH11Error(Exception):
    """The request must be parsed by h11."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """Limits heads and open requests, and tells each request of a disconnect.

    A request that is refused is answered with 400 after all requests before it have been answered.

    Requests of HTTP/1.0 and requests that offer an upgrade are parsed by h11: over httptools, uvicorn
    sends HTTP/1.0 clients chunks, and does not read the body of a request that offers an upgrade, as
    Java's client does to offer HTTP/2.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._is_between_requests = True
        self._received = b""
        """All since the beginning of a request; empty after its head, or where it began within data."""
        self._unfinished_bytes = 0
        self._unread: RequestResponseCycle | None = None
        """The request whose body is not complete."""
        self._open: list[RequestResponseCycle] = []
        self._refusal = ""
        self._ignored_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Parses what came."""
        self._unset_keepalive_if_required()
        if self._refusal:
            return
        if self._is_between_requests:
            self._received = data
            self._unfinished_bytes = len(data)
        else:
            if self._received:
                self._received += data
            self._unfinished_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except HttpParserError as error:
            # What a callback of the parser raised.
            cause = error.__context__
            if isinstance(cause, _NeedsH11Error):
                self._hand_over()
            elif isinstance(cause, _RefusedError):
                self._refuse(str(cause))
            else:
                self._refuse("Invalid HTTP request received.")
        else:
            if self._unfinished_bytes > MAX_HEAD_BYTES:
                self._refuse("The head of the request is too large.")

    def on_message_begin(self) -> None:
        """Begins a head."""
        self._is_between_requests = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Begins a request, or raises what `data_received` catches."""
        if self._is_head_too_large():
            raise _RefusedError("The head of the request is too large.")
        version = self.parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise _RefusedError("The version of HTTP must be 1.0 or 1.1.")
        self._open = self._open_cycles()
        if version == "1.0" or self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise _RefusedError("CONNECT is not supported.")
            if self._open or not self._received:
                raise _RefusedError(
                    "A request of HTTP/1.0 or with an upgrade must not be pipelined."
                )
            raise _NeedsH11Error
        if [name for name, _ in self.headers].count(b"host") != 1:
            # RFC 9112, section 3.2.
            raise _RefusedError("The request must have exactly one Host header.")
        if len(self._open) >= MAX_OPEN_REQUESTS:
            raise _RefusedError("Too many requests came before the answer to the first.")
        super().on_headers_complete()
        # uvicorn stops reading while a request waits for its turn, and a disconnect would go unnoticed.
        self.flow.resume_reading()
        if self.cycle.waiting_for_100_continue:
            # After a refusal nobody can tell its body, which need not come, from the next request
            # (RFC 9110, section 10.1.1).
            self.cycle.keep_alive = False
        self._ignored_bytes = 0
        self._unread = self.cycle
        self._open.append(self.cycle)
        self._received = b""
        self._unfinished_bytes = 0
        # What follows a body is no part of the head, which the application reads already.
        self.headers = []

    def on_body(self, body: bytes) -> None:
        """Takes a part of the body."""
        self._unfinished_bytes = 0
        super().on_body(body)
        if self.cycle.response_complete:
            self._ignored_bytes += len(body)
            if self._ignored_bytes > MAX_IGNORED_BYTES:
                self.transport.close()

    def on_message_complete(self) -> None:
        """Ends the body."""
        self._unfinished_bytes = 0
        self._unread = None
        self._is_between_requests = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Goes on with the next request, or ends the connection after a refused one."""
        super().on_response_complete()
        if self._refusal and not self._open_cycles():
            self._end_refused()

    def wake_requests(self) -> None:
        """Wakes all open requests that wait in ``receive``."""
        for cycle in self._open_cycles():
            cycle.message_event.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends what belongs to the connection."""
        # uvicorn tells the last request only.
        _disconnect(self._open_cycles())
        super().connection_lost(exc)

    def _open_cycles(self) -> list[RequestResponseCycle]:
        return [cycle for cycle in self._open if not cycle.response_complete]

    def _is_head_too_large(self) -> bool:
        if not self._received:
            lines = (len(name) + len(value) + len(": \r\n") for name, value in self.headers)
            return len(self.url) + sum(lines) > MAX_HEAD_BYTES
        if self._unfinished_bytes <= MAX_HEAD_BYTES:
            return False
        # A part of the body may have come with it.
        return self._received.lstrip(b"\r\n").find(b"\r\n\r\n") + 4 > MAX_HEAD_BYTES

    def _refuse(self, sentence: str) -> None:
        self.logger.warning("Refused a request: %s", sentence)
        self._refusal = sentence
        if self._unread is not None:
            # Its body will never be complete: it is not answered, nor begun if it waits its turn.
            _disconnect([self._unread])
            self._open = [cycle for cycle in self._open if cycle is not self._unread]
            if self.pipeline and self.pipeline[0][0] is self._unread:
                self.pipeline.popleft()
        if not self._open_cycles():
            self._end_refused()

    def _end_refused(self) -> None:
        if self._unread is not None and self._unread.response_started:
            # A second answer would garble the first.
            self.transport.close()
        elif not self.transport.is_closing():
            self.send_400_response(self._refusal)

    def _hand_over(self) -> None:
        # Imported late: few requests need it.
        from uvicorn.protocols.http.h11_impl import H11Protocol

        self.connections.discard(self)
        protocol = H11Protocol(self.config, self.server_state, self.app_state)
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        protocol.data_received(self._received)


def _disconnect(cycles: Iterable[RequestResponseCycle]) -> None:
    """Tells requests that their client has disconnected."""
    for cycle in cycles:
        cycle.disconnected = True
        cycle.message_event.set()
