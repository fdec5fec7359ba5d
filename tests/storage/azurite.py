"""Azurite, Microsoft's emulator of Blob Storage, as a process; `make test` installs it."""

import base64
import ipaddress
import json
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
from azure.core.credentials import AccessToken
from azure.storage.blob import BlobServiceClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from local.server import LOOPBACK
from tests.node import NODE, installed
from tests.ports import free_port
from tests.waiting import block_until

ACCOUNT = "devstoreaccount1"
DEVELOPMENT = BlobServiceClient.from_connection_string("UseDevelopmentStorage=true")
"""Never sends anything: it only knows the account key that every Azurite has."""

_KEEP_GARBAGE = Path(__file__).parent / "keep_garbage.cjs"


@dataclass(frozen=True)
class OAuthAzurite:
    """Azurite where only identities are let in.

    Attributes:
        url: Of the account.
        certificate: File with the certificate of the server.
        trusting: Trusts that certificate.
    """

    url: str
    certificate: Path
    trusting: ssl.SSLContext


def connection_string(port: int) -> str:
    """Returns the connection string of an Azurite."""
    return (
        f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};"
        f"AccountKey={DEVELOPMENT.credential.account_key};"
        f"BlobEndpoint=http://{LOOPBACK}:{port}/{ACCOUNT};"
    )


@contextmanager
def running(
    port: int,
    *arguments: str,
    verify: ssl.SSLContext | bool = True,
    collects_garbage: bool = True,
) -> Iterator[None]:
    """Runs Azurite in memory while the block runs.

    Args:
        port: Where.
        arguments: Further options, with which it speaks https.
        verify: Trusts its certificate.
        collects_garbage: Whether it frees what is no longer used, after ten minutes and for so long that
            callers give up; without that it may run for hours.
    """
    main = installed("azurite/dist/src/blob/main.js")
    preload = [] if collects_garbage else ["--require", str(_KEEP_GARBAGE)]
    command = [NODE, *preload, str(main), "--blobHost", LOOPBACK, "--blobPort", str(port)]
    command += ["--inMemoryPersistence", "--silent", "--disableTelemetry"]
    command += ["--skipApiVersionCheck", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        scheme = "https" if arguments else "http"
        with httpx2.Client(verify=verify, timeout=60) as client:
            block_until(lambda: _answers(client, f"{scheme}://{LOOPBACK}:{port}/", process))
        yield
    finally:
        process.terminate()
        process.wait()


def _answers(client: httpx2.Client, url: str, process: "subprocess.Popen[bytes]") -> bool:
    assert process.poll() is None, "Azurite ended by itself"
    try:
        client.get(url)
    except httpx2.TransportError:
        return False
    return True


@contextmanager
def running_with_oauth(folder: Path) -> Iterator[OAuthAzurite]:
    """Runs Azurite in its OAuth mode, which needs https."""
    certificate, key = _write_certificate(folder)
    port = free_port()
    trusting = ssl.create_default_context(cafile=str(certificate))
    options = ["--oauth", "basic", "--cert", str(certificate), "--key", str(key)]
    with running(port, *options, verify=trusting):
        yield OAuthAzurite(f"https://{LOOPBACK}:{port}/{ACCOUNT}", certificate, trusting)


def _write_certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Azurite for tests")])
    now = datetime.now(UTC)
    address = x509.IPAddress(ipaddress.ip_address(LOOPBACK))
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(_KEY_USAGE, critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "certificate.pem", folder / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate_file, key_file


_KEY_USAGE = x509.KeyUsage(
    digital_signature=True,
    key_cert_sign=True,
    crl_sign=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)


def make_token() -> str:
    """Returns a token that Azurite takes: it reads the claims, and cannot check the signature."""
    now = datetime.now(UTC)
    claims = {
        "aud": "https://storage.azure.com",
        "iss": "https://sts.windows.net/00000000-0000-0000-0000-000000000000/",
        "iat": int((now - timedelta(minutes=5)).timestamp()),
        "nbf": int((now - timedelta(minutes=5)).timestamp()),
        "exp": int((now + timedelta(hours=1)).timestamp()),
        "oid": "11111111-1111-1111-1111-111111111111",
        "sub": "11111111-1111-1111-1111-111111111111",
        "tid": "00000000-0000-0000-0000-000000000000",
        "ver": "1.0",
    }
    return f"{_encode({'alg': 'RS256', 'typ': 'JWT'})}.{_encode(claims)}.{_encode('unchecked')}"


def _encode(part: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


class TestCredential:
    """An identity that Azurite lets in."""

    __test__ = False

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        assert scopes == ("https://storage.azure.com/.default",)
        return AccessToken(make_token(), int(datetime.now(UTC).timestamp()) + 3600)

    async def close(self) -> None:
        """Has nothing to close."""

    async def __aenter__(self) -> "TestCredential":
        return self

    async def __aexit__(self, *_: object) -> None:
        """Has nothing to close."""


def blob_settings(connection_string: str) -> dict[str, str]:
    """Returns the app settings of an empty store in an account."""
    run = uuid4().hex
    return {
        "LOCAL_STORAGE_PATH": "",
        "AZURE_STORAGE_CONNECTION_STRING": connection_string,
        "AZURE_BLOB_CONTAINER": f"media-{run}",
        "AZURE_BLOB_STATE_CONTAINER": f"state-{run}",
    }
