"""How our servers read HTTP: uvicorn's protocol over httptools, with its gaps closed.

Behind the Functions host little of this can happen. The local host has nothing in front of it.
"""

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

MAX_HEAD_BYTES = 64 * 1024
"""Of a head that is not complete; the Functions host lets 40 KiB through."""
MAX_OPEN_REQUESTS = 16
"""Of one connection: the one that is answered, and those that its client sent before the answer."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """Refuses endless heads, tells each request of a disconnect, and leaves rare requests to h11.

    Those of HTTP/1.0, whose clients know no chunks, and those that offer an upgrade, whose body
    httptools leaves out: uvicorn minds both over h11 only. Java's client offers HTTP/2 so.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._unfinished_bytes = 0
        self._is_between_requests = True
        self._open: list[RequestResponseCycle] = []

    def data_received(self, data: bytes) -> None:
        """Reads what came."""
        if self._is_between_requests and not self._open_cycles() and _is_for_h11(data):
            self._hand_over(data)
            return
        self._unfinished_bytes += len(data)
        super().data_received(data)
        if self._unfinished_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The head of the request is too large.")

    def on_message_begin(self) -> None:
        """Begins a head."""
        self._is_between_requests = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Begins a request.

        Raises:
            ValueError: The request is refused; the parser makes a `HttpParserError` of it.
        """
        self._unfinished_bytes = 0
        if [name for name, _ in self.headers].count(b"host") != 1:
            raise ValueError("A request has one Host (RFC 9112, section 3.2).")
        if self.parser.should_upgrade():
            raise ValueError(
                "A request that offers an upgrade comes by itself, and its head at once."
            )
        self._open = self._open_cycles()
        if len(self._open) >= MAX_OPEN_REQUESTS:
            raise ValueError("Too many requests came before the answer of the first.")
        super().on_headers_complete()
        self._open.append(self.cycle)
        # What follows a body is no part of the head, which the application reads already.
        self.headers = []

    def on_body(self, body: bytes) -> None:
        """Takes a part of the body."""
        self._unfinished_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Ends the body."""
        self._unfinished_bytes = 0
        self._is_between_requests = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuses what came and ends the connection: without words that would garble an answer."""
        is_answering = any(
            cycle.response_started or cycle is not self.cycle for cycle in self._open_cycles()
        )
        if is_answering:
            self.transport.close()
        else:
            super().send_400_response(msg)
        self._disconnect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends what belongs to the connection."""
        self._disconnect()
        super().connection_lost(exc)

    def _open_cycles(self) -> list[RequestResponseCycle]:
        return [cycle for cycle in self._open if not cycle.response_complete]

    def _disconnect(self) -> None:
        """Tells all requests; uvicorn tells the last one that came."""
        for cycle in self._open_cycles():
            cycle.disconnected = True
            cycle.message_event.set()

    def _hand_over(self, data: bytes) -> None:
        # Imported late: hardly anybody asks so.
        from uvicorn.protocols.http.h11_impl import H11Protocol

        self._unset_keepalive_if_required()
        self.connections.discard(self)
        protocol = H11Protocol(self.config, self.server_state, self.app_state)
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        protocol.data_received(data)


def _is_for_h11(data: bytes) -> bool:
    """Returns whether a request that begins here is one for h11; of others hardly any is."""
    end = data.find(b"\r\n\r\n")
    head = (data if end < 0 else data[: end + 2]).lower()
    return b" http/1.0\r\n" in head or b"\r\nupgrade:" in head
