"""Discovers how a server is authorized (RFC 9728, 8414, 7591); importing it imports the MCP SDK.

The rules are those of the MCP specification's authorization chapter; the SDK's helpers keep them.
"""

import asyncio
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
from shared.connections.oauth.tokens import oauth_errors, open_oauth_client, send
from shared.connections.records import OAuthClient
from shared.connections.requests import ConnectRequest, is_scope, plain
from shared.errors import InvalidRequest
from shared.outbound import check_url

if TYPE_CHECKING:
    import httpx2

_PROBE = {"jsonrpc": "2.0", "id": 0, "method": "ping"}
_HEADERS = {"Accept": "application/json, text/event-stream"}
_CLIENT_NAME = "OpenAI MCP Functions"


async def discover_client(
    request: ConnectRequest,
    redirect_uri: str,
    client_metadata_url: str | None,
    *,
    allow_private: bool,
) -> tuple[OAuthClient, str | None]:
    """Returns the OAuth client of a new connection, and the client's secret.

    The server says where its tokens come from; a client that the caller does not name is registered.

    Args:
        request: The request to connect, with URLs that may be called.
        redirect_uri: Where browsers come back to.
        client_metadata_url: Where this app describes itself with this very ``redirect_uri``; None where
            it does not.
        allow_private: Whether private addresses may be called.

    Raises:
        InvalidRequest: The caller has to say more.
        ForbiddenAddress: An address that the server names may not be called.
        GatewayError: The server's metadata cannot be had, or says nothing useful.
    """
    if request.oauth_client_id is None and request.grant == "client_credentials":
        raise InvalidRequest.for_field(
            "oauth_client_id", "Needed, with its secret, for client credentials."
        )
    http = await asyncio.to_thread(open_oauth_client, allow_private=allow_private)
    async with http:
        metadata, resource, scopes = await _discover(http, request.mcp_url or "")
        for url in (metadata.authorization_endpoint, metadata.token_endpoint):
            check_url(str(url), allow_private=allow_private)
        auth_methods = list(metadata.token_endpoint_auth_methods_supported or ())
        client_id, secret = request.oauth_client_id, plain(request.oauth_client_secret)
        if client_id is None and metadata.client_id_metadata_document_supported:
            client_id = client_metadata_url
        if client_id is None:
            registered = await _register(http, metadata, redirect_uri, scopes)
            client_id, secret = str(registered.client_id), registered.client_secret
            if registered.token_endpoint_auth_method:
                auth_methods = [registered.token_endpoint_auth_method]
    oauth = OAuthClient(
        grant=request.grant,
        client_id=client_id,
        authorization_endpoint=str(metadata.authorization_endpoint),
        token_endpoint=str(metadata.token_endpoint),
        redirect_uri=redirect_uri,
        scopes=request.oauth_scopes or scopes,
        resource=resource,
        issuer=str(metadata.issuer),
        requires_issuer=bool(metadata.authorization_response_iss_parameter_supported),
        auth_methods=auth_methods,
    )
    return oauth, secret


async def _discover(
    client: "httpx2.AsyncClient", server_url: str
) -> tuple[OAuthMetadata, str, list[str]]:
    """Returns what the authorization server says, the server's identifier, and the scopes to ask for."""
    with oauth_errors("authorization server"):
        challenge = await _challenge(client, server_url)
        # A query may hold a key, and what follows is told to the authorization server.
        server_url = server_url.partition("?")[0]
        protected = await _resource_metadata(client, server_url, challenge)
        named = str(protected.authorization_servers[0]) if protected else None
        metadata = await _server_metadata(client, server_url, named)
    if "S256" not in (metadata.code_challenge_methods_supported or ["S256"]):
        raise ServerUnavailable("The authorization server does not support PKCE with S256.")
    scope = get_client_metadata_scopes(
        extract_scope_from_www_auth(challenge),
        protected,
        metadata,
        ["authorization_code", "refresh_token"],
    )
    resource = str(protected.resource) if protected else resource_url_from_server_url(server_url)
    return metadata, resource, [each for each in (scope or "").split() if is_scope(each)]


async def _register(
    client: "httpx2.AsyncClient", metadata: OAuthMetadata, redirect_uri: str, scopes: list[str]
) -> OAuthClientInformationFull:
    """Registers this app with the authorization server (RFC 7591)."""
    if metadata.registration_endpoint is None:
        raise ServerRefused(
            "The authorization server registers no clients. Give oauth_client_id, and "
            "oauth_client_secret where there is one."
        )
    wanted = OAuthClientMetadata(
        redirect_uris=[AnyUrl(redirect_uri)],
        client_name=_CLIENT_NAME,
        scope=" ".join(scopes) or None,
        token_endpoint_auth_method="none",  # noqa: S106 - no password
        application_type="web" if redirect_uri.startswith("https://") else "native",
    )
    request = create_client_registration_request(metadata, wanted, str(metadata.issuer))
    with oauth_errors("registration endpoint"):
        response = await send(client, request)
    try:
        return await handle_registration_response(response)
    except Exception as error:
        raise ServerRefused("The authorization server refused to register this app.") from error


async def _challenge(client: "httpx2.AsyncClient", server_url: str) -> "httpx2.Response":
    """Returns the answer to a request without a token; its body is not read."""
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
