"""Why no answer came, in words for an operator; nothing of it is what the other side wrote."""

import socket
import ssl
from collections.abc import Iterator

import httpx2


def network_reason(error: BaseException) -> str:
    """Returns what the network did wrong, such as ``connection refused``.

    Args:
        error: What was raised; its causes are looked at, too.
    """
    reasons = [reason for cause in _causes(error) if (reason := _reason(cause))]
    # The innermost cause knows most.
    return reasons[-1] if reasons else "connection failed"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        if isinstance(error, BaseExceptionGroup) and error.exceptions:
            # One for each address of the host; they rarely differ.
            error = error.exceptions[0]
        else:
            error = error.__cause__ or error.__context__


def _reason(error: BaseException) -> str | None:
    match error:
        case socket.gaierror():
            return "unknown host"
        case ssl.SSLCertVerificationError():
            return f"TLS certificate refused: {error.verify_message}"
        case ssl.SSLError():
            return f"TLS failed: {error.reason or 'no common protocol'}"
        case ConnectionRefusedError():
            return "connection refused"
        case ConnectionResetError() | BrokenPipeError():
            return "connection reset"
        case httpx2.ConnectTimeout():
            return "timeout while connecting"
        case httpx2.TimeoutException() | TimeoutError():
            return "timeout"
        case httpx2.RemoteProtocolError():
            return "connection closed before the answer was complete"
        case OSError() if error.errno is not None and error.strerror:
            return error.strerror.lower()
    return None
