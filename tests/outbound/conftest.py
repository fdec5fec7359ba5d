"""The edges of the world: what the resolver answers, what is dialled, servers with certificates."""

import datetime
import http.server
import ipaddress
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pytest_mock import MockerFixture

from local.server import LOOPBACK
from shared.outbound import pool

_dialled: list[Any] = []

_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        _dialled.append(arguments[1])


sys.addaudithook(_audit)


@pytest.fixture
def dialled() -> list[Any]:
    """Every address that any code of this process connects a socket to, told by the interpreter."""
    _dialled.clear()
    return _dialled


class Listener:
    """A port of this machine that notices connections."""

    def __init__(self, address: str = LOOPBACK) -> None:
        self.socket = socket.create_server(
            (address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET
        )
        self.socket.setblocking(False)
        self.port: int = self.socket.getsockname()[1]

    @property
    def was_reached(self) -> bool:
        """Whether somebody connected since the last time."""
        try:
            connection, _ = self.socket.accept()
        except BlockingIOError:
            return False
        connection.close()
        return True


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    with listener.socket:
        yield listener


@pytest.fixture
def listener6() -> Iterator[Listener]:
    listener = Listener("::1")
    with listener.socket:
        yield listener


class Names:
    """The resolver: names that tests define, each with one answer after another; the last one stays."""

    def __init__(self, real: Callable[..., Any]) -> None:
        self._real = real
        self._answers: dict[str, list[list[str]]] = {}
        self.asked: list[str] = []

    def define(self, name: str, *answers: list[str]) -> None:
        self._answers[name] = list(answers)

    def getaddrinfo(self, host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        self.asked.append(host)
        answers = self._answers.get(host)
        if answers is None:
            return self._real(host, port, *args, **kwargs)
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [_answer(address, port) for address in addresses]


def _answer(address: str, port: int) -> tuple[Any, ...]:
    if ":" in address:
        return (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))


@pytest.fixture
def names(mocker: MockerFixture) -> Names:
    names = Names(socket.getaddrinfo)
    mocker.patch.object(socket, "getaddrinfo", names.getaddrinfo)
    return names


@dataclass(frozen=True)
class Authority:
    """A certificate authority in a folder."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def path(self) -> Path:
        return self.folder / "authority.pem"

    def issue(self, name: str, *, is_expired: bool = False) -> Path:
        """Writes a certificate for a host, with its key, and returns where."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject: x509.GeneralName = x509.DNSName(name)
        if name[0].isdigit():
            subject = x509.IPAddress(ipaddress.ip_address(name))
        certificate = (
            _builder(name, self.certificate.subject, key, is_expired=is_expired)
            .add_extension(x509.SubjectAlternativeName([subject]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
            .sign(self.key, hashes.SHA256())
        )
        path = self.folder / f"{name}-{is_expired}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        return path


def _builder(
    name: str,
    issuer: x509.Name | None,
    key: ec.EllipticCurvePrivateKey,
    *,
    is_expired: bool = False,
) -> x509.CertificateBuilder:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 3 * day)
        .not_valid_after(now - day if is_expired else now + day)
    )


def make_authority(folder: Path) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder("Test authority", None, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_SIGNS_CERTIFICATES, critical=True)
        .sign(key, hashes.SHA256())
    )
    authority = Authority(folder, key, certificate)
    authority.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def trusted_authority(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[Authority]:
    """An authority that the operator's setting tells clients to trust."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
    pool._ssl_context.cache_clear()
    yield authority
    pool._ssl_context.cache_clear()


class TlsServer:
    """An https server that notes what it is asked for, and under which name."""

    def __init__(self, certificate: Path) -> None:
        self.names: list[str | None] = []
        self.requests: list[tuple[str, str]] = []
        seen = self.requests

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                seen.append((self.headers["Host"], self.path))
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: Any) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                pass  # Clients that refuse the certificate leave in the middle.

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        context.sni_callback = lambda _socket, name, _context: self.names.append(name)
        self._server = Server((LOOPBACK, 0), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_port

    @contextmanager
    def running(self) -> Iterator["TlsServer"]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()
