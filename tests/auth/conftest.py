"""A tenant that publishes its keys over HTTP, and the app that accepts its tokens."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.auth.issuer import CLIENT, PUBLIC, TENANT, Issuer, app_only, delegated
from tests.conftest import MakeClient, ThreadServer

KEYS_PATH = f"/{TENANT}/discovery/v2.0/keys"
METADATA_PATH = f"/{TENANT}/v2.0/.well-known/openid-configuration"


class Tenant:
    """A tenant, and what it does wrong.

    Attributes:
        issuer: Signs its tokens.
        origin: Where it is.
        trouble: How it answers: None as it should, or ``down``, ``redirect``, ``silent``, ``garbage``.
        metadata: What it says of itself besides.
        requests: Paths that it was asked for.
    """

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self.origin = ""
        self.trouble: str | None = None
        self.metadata: dict[str, Any] = {}
        self.requests: list[str] = []

    def user(self, key_id: str = "first", **changes: Any) -> str:
        """Returns a token for a user."""
        return self.issuer.sign(delegated(**({"iss": self._issuer_url} | changes)), key_id)

    def app(self, **changes: Any) -> str:
        """Returns a token for a program on its own behalf."""
        return self.issuer.sign(app_only(**({"iss": self._issuer_url} | changes)))

    @property
    def _issuer_url(self) -> str:
        return f"{self.origin}/{TENANT}/v2.0"

    async def keys(self, request: Request) -> Response:
        """Answers the request for the keys."""
        return await self._answer(request, await self.issuer.publish())

    async def configuration(self, request: Request) -> Response:
        """Answers the request for the metadata."""
        document = {"issuer": self._issuer_url, "jwks_uri": f"{self.origin}{KEYS_PATH}"}
        return await self._answer(request, document | self.metadata)

    async def elsewhere(self, request: Request) -> Response:
        """Answers with the keys, at an address where nobody should ask for them."""
        self.requests.append(request.url.path)
        return JSONResponse(await self.issuer.publish())

    async def _answer(self, request: Request, document: Any) -> Response:
        self.requests.append(request.url.path)
        if self.trouble == "down":
            return Response(status_code=503)
        if self.trouble == "redirect":
            return RedirectResponse("/elsewhere")
        if self.trouble == "garbage":
            return Response("<html>")
        if self.trouble == "silent":
            await asyncio.Event().wait()
        return JSONResponse(document)


@pytest.fixture(scope="module")
def tenant_of_module() -> Iterator[Tenant]:
    tenant = Tenant(Issuer())
    routes = [
        Route(KEYS_PATH, tenant.keys),
        Route(METADATA_PATH, tenant.configuration),
        Route("/elsewhere", tenant.elsewhere),
    ]
    with ThreadServer(Starlette(routes=routes)) as server:
        tenant.origin = server.origin
        yield tenant


@pytest.fixture
def tenant(tenant_of_module: Tenant) -> Tenant:
    """A tenant without trouble, with its first key alone."""
    tenant = tenant_of_module
    tenant.trouble, tenant.metadata = None, {}
    tenant.requests.clear()
    for name in [*tenant.issuer.keys][1:]:
        del tenant.issuer.keys[name]
    return tenant


@pytest.fixture
def entra_environment(environment: dict[str, str], tenant: Tenant) -> dict[str, str]:
    """Settings of an app that accepts the tenant's tokens beside keys."""
    return environment | {
        "ENTRA_TENANT_ID": TENANT,
        "ENTRA_CLIENT_ID": CLIENT,
        "ENTRA_AUTHORITY": tenant.origin,
        "PUBLIC_BASE_URL": PUBLIC,
    }


@pytest.fixture
def app_client(make_client: MakeClient, entra_environment: dict[str, str]) -> httpx2.AsyncClient:
    """A client of that app that sends no key."""
    return make_client(entra_environment, {})


def bearer(token: str) -> dict[str, str]:
    """Returns the header that carries a token."""
    return {"Authorization": f"Bearer {token}"}
