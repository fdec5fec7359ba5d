"""Sign-in with Entra ID in a browser: authorization code with PKCE, against a tenant on loopback."""

import base64
import hashlib
from collections.abc import Iterator
from urllib.parse import parse_qs, urlencode

import pytest
from playwright.async_api import Browser, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.auth.issuer import CLIENT, OWNER, TENANT, Issuer, delegated
from tests.conftest import ThreadServer
from tests.pages.conftest import serve
from tests.pages.visitor import visiting

pytestmark = pytest.mark.any_python

CORS = {"Access-Control-Allow-Origin": "*"}


class Tenant:
    """An authorization server as Entra is one to single-page applications.

    Attributes:
        origin: Where it is.
        lifetime: Seconds for which its access tokens are valid.
        nonce: Takes the place of the nonce in ID tokens.
        state: Takes the place of the state in what it sends back.
        grants: The fields of requests for tokens.
    """

    def __init__(self) -> None:
        self.origin = ""
        self.lifetime = 3600
        self.nonce: str | None = None
        self.state: str | None = None
        self.grants: list[dict[str, str]] = []
        self._issuer = Issuer()
        self._asked: dict[str, str] = {}
        base = f"/{TENANT}"
        self.app = Starlette(
            routes=[
                Route(f"{base}/v2.0/.well-known/openid-configuration", self._metadata),
                Route(f"{base}/discovery/v2.0/keys", self._keys),
                Route(f"{base}/oauth2/v2.0/authorize", self._authorize),
                Route(f"{base}/oauth2/v2.0/token", self._token, methods=["POST"]),
            ]
        )

    async def _metadata(self, _: Request) -> Response:
        base = f"{self.origin}/{TENANT}"
        document = {
            "issuer": f"{base}/v2.0",
            "jwks_uri": f"{base}/discovery/v2.0/keys",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "token_endpoint": f"{base}/oauth2/v2.0/token",
        }
        return JSONResponse(document, headers=CORS)

    async def _keys(self, _: Request) -> Response:
        return JSONResponse(await self._issuer.publish())

    async def _authorize(self, request: Request) -> Response:
        self._asked = asked = dict(request.query_params)
        assert asked["response_type"] == "code"
        assert asked["response_mode"] == "fragment"
        assert asked["code_challenge_method"] == "S256"
        back = {"code": "the-code", "state": self.state or asked["state"]}
        return RedirectResponse(f"{asked['redirect_uri']}#{urlencode(back)}")

    async def _token(self, request: Request) -> Response:
        fields = {name: each[0] for name, each in parse_qs((await request.body()).decode()).items()}
        self.grants.append(fields)
        if fields["grant_type"] == "authorization_code":
            digest = hashlib.sha256(fields["code_verifier"].encode()).digest()
            challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
            assert challenge == self._asked["code_challenge"]
            assert fields["redirect_uri"] == self._asked["redirect_uri"]
        issuer = {"iss": f"{self.origin}/{TENANT}/v2.0"}
        scopes = "chat tools connections openai"
        nonce = self.nonce or self._asked["nonce"]
        answer = {
            "access_token": self._issuer.sign(delegated(scp=scopes, **issuer)),
            "id_token": self._issuer.sign(delegated(nonce=nonce, **issuer)),
            "refresh_token": f"refresh-{len(self.grants)}",
            "expires_in": self.lifetime,
        }
        return JSONResponse(answer, headers=CORS)


@pytest.fixture
def tenant() -> Iterator[Tenant]:
    tenant = Tenant()
    with ThreadServer(tenant.app) as server:
        tenant.origin = server.origin
        yield tenant


@pytest.fixture
def site(page_environment: dict[str, str], tenant: Tenant) -> Iterator[str]:
    """Origin of an app that takes Entra's tokens beside keys."""
    entra = {
        "ENTRA_TENANT_ID": TENANT,
        "ENTRA_CLIENT_ID": CLIENT,
        "ENTRA_AUTHORITY": tenant.origin,
    }
    with serve(page_environment | entra) as origin:
        yield origin


async def test_person_signs_in_comes_back_and_stays_signed_in(
    browser: Browser, site: str, tenant: Tenant
) -> None:
    tenant.lifetime = 60  # Less than what is left when a token is renewed: each request renews it.
    async with visiting(browser, site, others=(tenant.origin,)) as visitor:
        tab = visitor.tab
        await tab.goto(f"{site}/#/usage")
        await tab.get_by_role("button", name="Sign in with Microsoft").click()
        await expect(tab.get_by_role("heading", name="Usage")).to_be_visible()
        assert tab.url == f"{site}/#/usage"
        await expect(tab.locator("#account summary")).to_contain_text("alice@example.com")
        await visitor.show("chat")
        await visitor.ask("Hello")
        await expect(tab.locator(".receipt")).to_be_visible()
        first, *others = tenant.grants
        assert first["grant_type"] == "authorization_code"
        assert {each["grant_type"] for each in others} == {"refresh_token"}
        assert others[-1]["refresh_token"].startswith("refresh-")
        assert await tab.evaluate("localStorage.length") == 0
        await tab.locator("#account summary").click()
        await tab.get_by_role("button", name="Sign out").click()
        await expect(tab.get_by_role("button", name="Sign in with Microsoft")).to_be_visible()
        assert await tab.evaluate("sessionStorage.length") == 0


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("state", "This answer does not belong to a sign-in of this tab."),
        ("nonce", "its nonce differs"),
    ],
)
async def test_answer_to_another_sign_in_is_refused(
    browser: Browser, site: str, tenant: Tenant, fault: str, sentence: str
) -> None:
    setattr(tenant, fault, "forged")
    async with visiting(browser, site, others=(tenant.origin,)) as visitor:
        await visitor.tab.goto(site)
        await visitor.tab.get_by_role("button", name="Sign in with Microsoft").click()
        await expect(visitor.tab.get_by_role("alert")).to_contain_text(sentence)
        assert "the-code" not in visitor.tab.url
        assert OWNER not in await visitor.tab.evaluate("JSON.stringify(sessionStorage)")
