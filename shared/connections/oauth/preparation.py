"""How the tokens of a new connection will be got: what its caller says, and what is discovered."""

import asyncio
import importlib
from dataclasses import dataclass, field
from typing import Literal

from shared.connections.oauth.tokens import open_oauth_client
from shared.connections.records import OAuthClient
from shared.errors import InvalidRequest
from shared.outbound import check_url

Grant = Literal["authorization_code", "client_credentials"]


@dataclass(frozen=True, slots=True)
class OAuthWish:
    """What a caller said about OAuth; what is missing is discovered.

    Attributes:
        server_url: The server to be authorized for.
        grant: Whose behalf it is on.
        redirect_uri: Where browsers come back to.
        client_id: The client that the authorization server knows.
        client_secret: Its secret.
        authorization_endpoint: Where users agree.
        token_endpoint: Where tokens come from.
        scopes: What to ask for; empty for what the server wants.
        client_metadata_url: Where this app describes itself with this very ``redirect_uri``; None where
            it does not.
    """

    server_url: str = field(repr=False)
    grant: Grant
    redirect_uri: str
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    authorization_endpoint: str | None = None
    token_endpoint: str | None = None
    scopes: tuple[str, ...] = ()
    client_metadata_url: str | None = None


async def prepare(wish: OAuthWish, *, allow_private: bool) -> tuple[OAuthClient, str | None]:
    """Returns how tokens will be got, and the client's secret.

    Args:
        wish: What the caller said, with URLs that may be called.
        allow_private: Whether private addresses may be called.

    Raises:
        InvalidRequest: The caller has to say more.
        GatewayError: The server's metadata cannot be had, or says nothing useful.
    """
    if wish.token_endpoint is None:
        return await _discovered(wish, allow_private)
    if wish.client_id is None:
        raise InvalidRequest.for_field("oauth_client_id", "Needed where the endpoints are given.")
    oauth = OAuthClient(
        grant=wish.grant,
        client_id=wish.client_id,
        authorization_endpoint=wish.authorization_endpoint,
        token_endpoint=wish.token_endpoint,
        redirect_uri=wish.redirect_uri,
        scopes=list(wish.scopes),
    )
    return oauth, wish.client_secret


async def _discovered(wish: OAuthWish, allow_private: bool) -> tuple[OAuthClient, str | None]:
    sdk = await asyncio.to_thread(importlib.import_module, "shared.connections.oauth.discovery")
    client = await asyncio.to_thread(open_oauth_client, allow_private=allow_private)
    async with client:
        found = await sdk.discover(client, wish.server_url)
        client_id, client_secret = wish.client_id, wish.client_secret
        auth_methods = found.auth_methods
        if client_id is None and wish.grant == "client_credentials":
            raise InvalidRequest.for_field(
                "oauth_client_id", "Needed, with its secret, for client credentials."
            )
        document = wish.client_metadata_url
        if client_id is None and document and found.takes_metadata_documents:
            client_id = document
        elif client_id is None:
            registered = await sdk.register(client, found, wish.redirect_uri)
            client_id, client_secret = registered.client_id, registered.client_secret
            given = registered.token_endpoint_auth_method
            auth_methods = [given] if given else auth_methods
    for url in (found.authorization_endpoint, found.token_endpoint):
        check_url(url, allow_private=allow_private)
    oauth = OAuthClient(
        grant=wish.grant,
        client_id=client_id,
        authorization_endpoint=found.authorization_endpoint,
        token_endpoint=found.token_endpoint,
        redirect_uri=wish.redirect_uri,
        scopes=list(wish.scopes) or found.scopes,
        resource=found.resource,
        issuer=found.issuer,
        requires_issuer=found.requires_issuer,
        auth_methods=auth_methods,
    )
    return oauth, client_secret
