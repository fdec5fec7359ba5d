"""Finds out how a server wants to be authorized; importing this module imports the MCP SDK.

The rules are those of the MCP specification's authorization chapter; the SDK's helpers keep them.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mcp.client.auth.utils import (
    build_oauth_authorization_server_metadata_discovery_urls,
    build_protected_resource_metadata_discovery_urls,
    create_client_registration_request,
    create_oauth_metadata_request,
    extract_resource_metadata_from_www_auth,
    extract_scope_from_www_auth,
    get_client_metadata_scopes,
    handle_auth_metadata_response,
    handle_protected_resource_response,
    handle_registration_response,
    issuers_match,
)
from mcp.shared.auth import (
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthMetadata,
    ProtectedResourceMetadata,
)
from mcp.shared.auth_utils import check_resource_allowed, resource_url_from_server_url
from pydantic import AnyUrl

from shared.connections.errors import ServerRefused, ServerUnavailable
from shared.connections.oauth.tokens import oauth_errors, send
from shared.connections.text import is_scope

if TYPE_CHECKING:
    import httpx2

_PROBE = {"jsonrpc": "2.0", "id": 0, "method": "ping"}
_HEADERS = {"Accept": "application/json, text/event-stream"}
_CLIENT_NAME = "OpenAI MCP Functions"


@dataclass(frozen=True, slots=True)
class Discovered:
    """What a server and its authorization server say.

    Attributes:
        issuer: Who gives tokens.
        authorization_endpoint: Where users agree.
        token_endpoint: Where tokens come from.
        scopes: What to ask for.
        resource: What to ask it for.
        requires_issuer: Whether answers name the issuer.
        auth_methods: How clients prove themselves.
        takes_metadata_documents: Whether a client may be known by the URL of its description.
        metadata: All that the authorization server says.
    """

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    scopes: list[str]
    resource: str
    requires_issuer: bool
    auth_methods: list[str]
    takes_metadata_documents: bool
    metadata: OAuthMetadata


async def discover(client: "httpx2.AsyncClient", server_url: str) -> Discovered:
    """Asks a server, and the authorization server that it names.

    Raises:
        ForbiddenAddress: One of their addresses may not be reached.
        ServerUnavailable: They say nothing, or nothing that holds together.
    """
    with oauth_errors("authorization server"):
        challenge = await _challenge(client, server_url)
        # A query may hold a key, and what follows is told to the authorization server.
        server_url = server_url.partition("?")[0]
        resource = await _resource_metadata(client, server_url, challenge)
        named = str(resource.authorization_servers[0]) if resource else None
        metadata = await _server_metadata(client, server_url, named)
    if "S256" not in (metadata.code_challenge_methods_supported or ["S256"]):
        raise ServerUnavailable("The authorization server does not support PKCE with S256.")
    scope = get_client_metadata_scopes(
        extract_scope_from_www_auth(challenge),
        resource,
        metadata,
        ["authorization_code", "refresh_token"],
    )
    return Discovered(
        issuer=str(metadata.issuer),
        authorization_endpoint=str(metadata.authorization_endpoint),
        token_endpoint=str(metadata.token_endpoint),
        scopes=[each for each in (scope or "").split() if is_scope(each)],
        resource=_resource(server_url, resource),
        requires_issuer=bool(metadata.authorization_response_iss_parameter_supported),
        auth_methods=list(metadata.token_endpoint_auth_methods_supported or ()),
        takes_metadata_documents=bool(metadata.client_id_metadata_document_supported),
        metadata=metadata,
    )


async def register(
    client: "httpx2.AsyncClient", discovered: Discovered, redirect_uri: str
) -> OAuthClientInformationFull:
    """Registers this app with the authorization server (RFC 7591).

    Raises:
        ServerRefused: It lets nobody register.
    """
    if discovered.metadata.registration_endpoint is None:
        raise ServerRefused(
            "The authorization server registers no clients. Give oauth_client_id, and "
            "oauth_client_secret where there is one."
        )
    wanted = OAuthClientMetadata(
        redirect_uris=[AnyUrl(redirect_uri)],
        client_name=_CLIENT_NAME,
        scope=" ".join(discovered.scopes) or None,
        token_endpoint_auth_method="none",  # noqa: S106 - no password
        application_type="web" if redirect_uri.startswith("https://") else "native",
    )
    request = create_client_registration_request(discovered.metadata, wanted, discovered.issuer)
    with oauth_errors("registration endpoint"):
        response = await send(client, request)
    try:
        return await handle_registration_response(response)
    except Exception as error:
        raise ServerRefused("The authorization server refused to register this app.") from error


async def _challenge(client: "httpx2.AsyncClient", server_url: str) -> "httpx2.Response":
    """Returns what the server says to somebody without a token; its body is not read."""
    async with client.stream("POST", server_url, json=_PROBE, headers=_HEADERS) as response:
        return response


async def _resource_metadata(
    client: "httpx2.AsyncClient", server_url: str, challenge: "httpx2.Response"
) -> ProtectedResourceMetadata | None:
    named = extract_resource_metadata_from_www_auth(challenge)
    for url in build_protected_resource_metadata_discovery_urls(named, server_url):
        response = await send(client, create_oauth_metadata_request(url))
        found = await handle_protected_resource_response(response)
        if found is None:
            continue
        if not check_resource_allowed(
            requested_resource=resource_url_from_server_url(server_url),
            configured_resource=str(found.resource),
        ):
            raise ServerUnavailable("The server's metadata describes another server.")
        return found
    return None


async def _server_metadata(
    client: "httpx2.AsyncClient", server_url: str, named: str | None
) -> OAuthMetadata:
    expected = named or resource_origin(server_url)
    for url in build_oauth_authorization_server_metadata_discovery_urls(named, server_url):
        response = await send(client, create_oauth_metadata_request(url))
        goes_on, found = await handle_auth_metadata_response(response)
        if found is not None:
            if not issuers_match(str(found.issuer), expected):
                raise ServerUnavailable("The authorization server's metadata names another issuer.")
            return found
        if not goes_on:
            break
    raise ServerUnavailable(
        "The server says nothing about its authorization. Give oauth_auth_url and oauth_token_url."
    )


def resource_origin(server_url: str) -> str:
    """Returns scheme and host of a URL."""
    import httpx2

    url = httpx2.URL(server_url)
    return str(url.copy_with(raw_path=b"/", fragment=None)).rstrip("/")


def _resource(server_url: str, metadata: ProtectedResourceMetadata | None) -> str:
    return str(metadata.resource) if metadata else resource_url_from_server_url(server_url)
