# mypy: ignore-errors
# Runs under SDK 1 and SDK 2, of which the type checker sees one.
"""The official Python client, which begins without a token: signs in, calls a tool, prints its answer.

Arguments: the URL of the server, the client id, the redirect address.
"""

import asyncio
import json
import sys
from urllib.parse import parse_qs, urlsplit

import mcp.client.streamable_http as transport
from mcp import ClientSession
from mcp.client.auth import OAuthClientProvider
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata

try:
    import httpx2 as httpx
    from mcp.client.auth import AuthorizationCodeResult
except ImportError:
    import httpx

    AuthorizationCodeResult = None

url, client_id, redirect = sys.argv[1:]
metadata = {"redirect_uris": [redirect], "token_endpoint_auth_method": "none"}
back = {}


class Storage:
    tokens = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return OAuthClientInformationFull(client_id=client_id, **metadata)

    async def set_client_info(self, client_info):
        raise AssertionError("Entra ID registers no clients.")


async def browse(address):
    async with httpx.AsyncClient(timeout=60) as browser:
        for _ in range(20):
            if address.startswith(redirect):
                back.update(parse_qs(urlsplit(address).query))
                return
            page = await browser.get(address)
            if page.status_code >= 400:
                raise AssertionError(page.text)
            address = str(page.url.join(page.headers["location"]))


async def come_back():
    code, state, iss = (back.get(name, [None])[0] for name in ("code", "state", "iss"))
    if AuthorizationCodeResult is None:
        return code, state
    return AuthorizationCodeResult(code=code, state=state, iss=iss)


async def main():
    auth = OAuthClientProvider(
        server_url=url,
        client_metadata=OAuthClientMetadata(**metadata),
        storage=Storage(),
        redirect_handler=browse,
        callback_handler=come_back,
    )
    async with (
        httpx.AsyncClient(auth=auth, timeout=60) as http,
        transport.streamable_http_client(url, http_client=http) as streams,
        ClientSession(*streams[:2]) as session,
    ):
        await session.initialize()
        result = (await session.call_tool("server_time", {})).model_dump(by_alias=True)
    json.dump(result["structuredContent"], sys.stdout)


asyncio.run(main())
