"""How clients find out where to get a token: metadata (RFC 9728), challenges (RFC 6750, section 3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from shared.auth import ALL_DEFAULT_SCOPES, EntraConfig
from shared.errors import GatewayError, InsufficientScope, InvalidToken, Unauthorized
from shared.routes.routing import DeferredRoute
from shared.settings import DEFAULT_SCOPES, SCOPES

METADATA_PATH = "/.well-known/oauth-protected-resource"
CACHE_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class ProtectedResource:
    """The app as the resource that tokens are for: once as a whole, once as the MCP endpoint.

    Attributes:
        config: Whose tokens are accepted.
        mcp_path: Path of the MCP endpoint, which clients take for a resource of its own.
    """

    config: EntraConfig
    mcp_path: str

    @property
    def metadata_paths(self) -> Sequence[str]:
        """Paths of the metadata of the app and of its MCP endpoint."""
        return METADATA_PATH, f"{METADATA_PATH}{self.mcp_path}"

    def metadata(self, path: str) -> dict[str, Any]:
        """Returns the metadata of one of the two resources.

        Args:
            path: Of the resource: empty for the app, or that of the MCP endpoint.
        """
        # A client that asks Entra ID for a scope of another URI than the resource's is refused.
        scopes = [ALL_DEFAULT_SCOPES, *(scope for scope in SCOPES if scope in DEFAULT_SCOPES)]
        return {
            "resource": self._url(path),
            "resource_name": "OpenAI MCP Functions",
            "authorization_servers": [self.config.issuer],
            "bearer_methods_supported": ["header"],
            "scopes_supported": [f"{self._url(path)}/{scope}" for scope in scopes],
        }

    def challenge(
        self, request: Request, error: Unauthorized | InsufficientScope
    ) -> dict[str, str]:
        """Returns the header that tells the caller of a refused request how to get a token."""
        path = self.mcp_path if request.scope["path"] == self.mcp_path else ""
        fields = {"resource_metadata": f"{self.config.own_url}{METADATA_PATH}{path}"}
        scope: str | None = ALL_DEFAULT_SCOPES
        if isinstance(error, InsufficientScope):
            fields = {"error": "insufficient_scope"} | fields
            scope = error.scope
        elif isinstance(error, InvalidToken) or _has_bearer(request):
            fields = {"error": "invalid_token"} | fields
        if scope is not None:
            fields["scope"] = f"{self._url(path)}/{scope}"
        parameters = ", ".join(f'{name}="{value}"' for name, value in fields.items())
        return {"WWW-Authenticate": f"Bearer {parameters}"}

    def _url(self, path: str) -> str:
        return f"{self.config.own_url}{path}"


def protected_resource_router(resource: ProtectedResource) -> APIRouter:
    """Returns the routes of the metadata, which need no key."""
    router = APIRouter(include_in_schema=False, route_class=DeferredRoute)
    headers = {"Cache-Control": f"public, max-age={CACHE_SECONDS}"}
    app_path, mcp_path = resource.metadata_paths

    @router.get(app_path, name="protected_resource")
    async def app_metadata() -> JSONResponse:
        return JSONResponse(resource.metadata(""), headers=headers)

    @router.get(mcp_path, name="protected_resource_mcp")
    async def mcp_metadata() -> JSONResponse:
        return JSONResponse(resource.metadata(resource.mcp_path), headers=headers)

    return router


def challenge_of(request: Request, error: GatewayError) -> dict[str, str]:
    """Returns the challenge for an error, empty where Entra ID is off or no token would help."""
    if not isinstance(error, Unauthorized | InsufficientScope):
        return {}
    resource: ProtectedResource | None = request.app.state.protected_resource
    return {} if resource is None else resource.challenge(request, error)


def _has_bearer(request: Request) -> bool:
    return request.headers.get("authorization", "").lower().startswith("bearer ")
