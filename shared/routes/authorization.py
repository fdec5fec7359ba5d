"""What browsers and authorization servers call, without a key, while a connection is authorized."""

from collections.abc import Sequence
from html import escape
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse

from shared.connections import CLIENT_METADATA_PATH, ConnectionRecord, Connections, clean
from shared.errors import GatewayError
from shared.routes.guarded_route import request_deadline
from shared.routes.routing import DeferredRoute

CALLBACK_PATH = "/mcp/oauth/callback"
MAX_SHOWN_SCOPES = 10
MAX_SHOWN_CHARS = 100
"""How much of what others wrote the page shows."""

_PAGE: dict[str, Any] = {"content": {"text/html": {"schema": {"type": "string"}}}}
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "frame-ancestors 'none'; form-action 'none'; base-uri 'none'",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "A page that says why the server is not connected.", **_PAGE},
    404: {"description": "A page that says that no such authorization is under way.", **_PAGE},
}


def callback_url(request: Request, public_origin: str | None) -> str:
    """Returns where browsers come back to.

    Args:
        request: Whose own address it is, if there is no public one.
        public_origin: Scheme and host that browsers know this app by.
    """
    return f"{public_origin or str(request.base_url).rstrip('/')}{CALLBACK_PATH}"


def authorization_router(connections: Connections, public_origin: str | None) -> APIRouter:
    """Returns the routes of authorizations.

    Args:
        connections: The manager.
        public_origin: Scheme and host that browsers know this app by; None where that varies.
    """
    router = APIRouter(tags=["connections"], route_class=DeferredRoute)

    @router.get(
        CALLBACK_PATH,
        name="mcp_oauth_callback",
        summary="Return from an authorization",
        response_class=HTMLResponse,
        responses=_REFUSALS,
    )
    async def oauth_callback(
        request: Request,
        state: str = "",
        code: str | None = None,
        iss: str | None = None,
        error: str | None = None,
    ) -> HTMLResponse:
        """Shows the browser that comes back the 8 characters that confirm the authorization."""
        try:
            async with request_deadline(request).scope():
                parked = await connections.park_authorization(state, code, iss, error)
        except GatewayError as failure:
            # Always 400 or 404: how our own call went is nothing that a browser could act on.
            status = 404 if failure.status == 404 else 400
            return _page("Not connected", [_paragraph(failure.detail)], status)
        return _page("One more step", _confirmation(parked.record, parked.characters), 200)

    if public_origin is not None and public_origin.startswith("https://"):

        @router.get(CLIENT_METADATA_PATH, name="mcp_oauth_client", include_in_schema=False)
        async def client_metadata() -> JSONResponse:
            return JSONResponse(client_metadata_document(public_origin))

    return router


def client_metadata_document(public_origin: str) -> dict[str, Any]:
    """Returns how this app describes itself to authorization servers that take such documents."""
    return {
        "client_id": f"{public_origin}{CLIENT_METADATA_PATH}",
        "client_name": "OpenAI MCP Functions",
        "client_uri": public_origin,
        "redirect_uris": [f"{public_origin}{CALLBACK_PATH}"],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    }


def _confirmation(record: ConnectionRecord, characters: str) -> list[str]:
    server = urlsplit(record.mcp_url or "").netloc
    authority = urlsplit(record.oauth.token_endpoint if record.oauth else "").netloc
    return [
        _paragraph(
            f"Somebody asked this service to use {server} with the account that you have just used at "
            f"{authority}. They began at {record.created_at:%H:%M} UTC."
        ),
        _paragraph(
            "Only if you started this yourself: enter these characters where you started it, within "
            "ten minutes."
        ),
        f"<p><strong><code>{escape(characters)}</code></strong></p>",
        _paragraph(
            "If somebody sent you the link, or asks you for the characters, close this page and tell "
            "nobody: whoever enters them can use your account."
        ),
        # Others wrote these two, so they stand after the warning, where they cannot pass for our words.
        f"<p>Their name for the connection: {_foreign(record.name)}</p>",
        f"<p>Scopes: {_scopes(record.oauth.scopes if record.oauth else ())}</p>",
    ]


def _scopes(scopes: Sequence[str]) -> str:
    shown = ", ".join(_foreign(scope) for scope in scopes[:MAX_SHOWN_SCOPES])
    more = len(scopes) - MAX_SHOWN_SCOPES
    return (shown or "none named") + (f" and {more} more" if more > 0 else "")


def _foreign(text: str) -> str:
    """Returns a text of somebody else's as an element that no other text is turned by."""
    return f"<bdi>{escape(clean(text, MAX_SHOWN_CHARS))}</bdi>"


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def _page(title: str, paragraphs: Sequence[str], status: int) -> HTMLResponse:
    body = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        "<style>body{font:1.1rem system-ui;margin:15vh auto;max-width:36rem;padding:0 1rem}"
        "code{font-size:2rem;letter-spacing:.2em}</style>"
        f"<h1>{escape(title)}</h1>{''.join(paragraphs)}</html>"
    )
    return HTMLResponse(body, status, _PAGE_HEADERS)
