"""An authorization server that checks what it is asked, and counts."""

import asyncio
import base64
import hashlib
import secrets
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

CLIENT = "a-client"
CLIENT_SECRET = "secret-of-the-client"


class Authority:
    """One authorization server, with its faults.

    Attributes:
        origin: Where it is.
        expires_in: How long its tokens live.
        valid: The access token that is good now.
        registers: Whether it lets clients register.
        takes_post_only: Whether it wants the client's secret in the body.
        issuer_in_metadata: What its metadata calls it, if not its origin.
        issuer_in_answer: What it calls itself to browsers.
        answer: Fields that take the place of what its token endpoint answers.
        broken_with: Status of what its token endpoint answers, without a word; None while it works.
        is_stalled: Whether its token endpoint never answers.
        stalls_metadata: Whether its metadata never comes.
        knows_resources: Whether there is metadata of the server.
    """

    def __init__(self) -> None:
        self.origin = ""
        self.server_url = ""
        self.expires_in: Any = 3600
        self.valid: str | None = None
        self.registers = True
        self.takes_documents = False
        self.takes_post_only = False
        self.issuer_in_metadata: str | None = None
        self.refuses = False
        self.answer: dict[str, Any] = {}
        self.broken_with: int | None = None
        self.is_stalled = False
        self.stalls_metadata = False
        self.knows_resources = True
        self.grants: list[dict[str, str]] = []
        self.requests: list[str] = []
        self.codes: dict[str, dict[str, str]] = {}
        self.refresh_token: str | None = None
        self.app = Starlette(
            routes=[
                Route("/.well-known/oauth-protected-resource/mcp", self._resource),
                Route("/.well-known/oauth-authorization-server", self._metadata),
                Route("/register", self._register, methods=["POST"]),
                Route("/token", self._token, methods=["POST"]),
            ]
        )

    def agree(self, authorization_url: str, issuer: str | None = "") -> dict[str, str]:
        """Lets the user agree; returns the query that the browser brings back."""
        parts = urlsplit(authorization_url)
        assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{self.origin}/authorize"
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(8)
        self.codes[code] = query
        back = {"state": query["state"], "code": code}
        if issuer is not None:
            back["iss"] = issuer or self.origin
        return back

    def count(self, grant: str) -> int:
        return sum(form["grant_type"] == grant for form in self.grants)

    async def _resource(self, request: Request) -> Response:
        self.requests.append(request.url.path)
        if not self.knows_resources:
            return Response(status_code=404)
        return JSONResponse(
            {
                "resource": self.server_url,
                "authorization_servers": [self.origin],
                "scopes_supported": ["read"],
            }
        )

    async def _metadata(self, request: Request) -> Response:
        self.requests.append(request.url.path)
        if self.stalls_metadata:
            await asyncio.Event().wait()
        metadata: dict[str, Any] = {
            "issuer": self.issuer_in_metadata or self.origin,
            "authorization_endpoint": f"{self.origin}/authorize",
            "token_endpoint": f"{self.origin}/token",
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
            "client_id_metadata_document_supported": self.takes_documents,
        }
        if self.registers:
            metadata["registration_endpoint"] = f"{self.origin}/register"
        return JSONResponse(metadata)

    async def _register(self, request: Request) -> Response:
        self.requests.append(request.url.path)
        asked = await request.json()
        return JSONResponse({**asked, "client_id": "registered"}, 201)

    async def _token(self, request: Request) -> Response:
        form = {key: str(value) for key, value in (await request.form()).items()}
        authorization = request.headers.get("authorization", "")
        if authorization.startswith("Basic "):
            if self.takes_post_only:
                return JSONResponse({"error": "invalid_client"}, 401)
            pair = base64.b64decode(authorization[6:]).decode().split(":")
            form["client_id"], form["client_secret"] = pair
        if form["client_id"] == CLIENT and form.get("client_secret") != CLIENT_SECRET:
            return JSONResponse({"error": "invalid_client"}, 401)
        self.grants.append(form)
        if self.is_stalled:
            await asyncio.Event().wait()
        if self.broken_with is not None:
            return Response(status_code=self.broken_with)
        if self.refuses or not self._is_granted(form):
            return JSONResponse({"error": "invalid_grant", "error_description": str(form)}, 400)
        return JSONResponse(self._tokens(form["grant_type"]))

    def _is_granted(self, form: dict[str, str]) -> bool:
        if form["grant_type"] == "client_credentials":
            return form["client_id"] == CLIENT
        if form["grant_type"] == "refresh_token":
            return form["refresh_token"] == self.refresh_token
        asked = self.codes.pop(form["code"], None)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        return asked is not None and (
            asked["code_challenge"] == challenge
            and asked["client_id"] == form["client_id"]
            and asked["redirect_uri"] == form["redirect_uri"]
            and asked.get("resource") == form.get("resource")
        )

    def _tokens(self, grant: str) -> dict[str, Any]:
        self.valid = f"access-{secrets.token_urlsafe(8)}"
        answer: dict[str, Any] = {"access_token": self.valid, "token_type": "Bearer"}
        answer |= self.answer
        if self.expires_in is not None:
            answer["expires_in"] = self.expires_in
        if grant != "client_credentials":
            # Good for one use.
            self.refresh_token = f"refresh-{secrets.token_urlsafe(8)}"
            answer["refresh_token"] = self.refresh_token
        return answer


def query_of(url: str) -> dict[str, str]:
    """Returns the query of a URL."""
    return {key: values[0] for key, values in parse_qs(urlsplit(url).query).items()}
