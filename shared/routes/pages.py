"""`GET /`: the page of the app, its files, and what it has to know before anybody signs in."""

import asyncio
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from shared import __version__
from shared.auth import ALL_DEFAULT_SCOPES, EntraConfig
from shared.errors import NotFound
from shared.openai_service import Capability, OpenAIService
from shared.routes.routing import DeferredRoute
from shared.routes.static_files import HTML, JAVASCRIPT, PAGES, StaticFile, page_file, page_revision
from shared.settings import Settings
from shared.storage import media_origin

PAGE_PATH = "/"
PAGE_FILES_PATH = "/pages"
CONFIG_PATH = f"{PAGE_FILES_PATH}/config.json"

STAND_IN = "stand-in"
"""The key that the local host gives to the stand-in for OpenAI."""

ICON_SUFFIX = ".png"

_MEDIA_TYPES = {
    ".js": JAVASCRIPT,
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ICON_SUFFIX: "image/png",
}
"""What the page is made of, beside its HTML, and the icons for MCP clients."""

_IMMUTABLE = "public, max-age=31536000, immutable"
"""Of files whose path has the revision: another revision of the page has other paths."""

_ICON_HEADERS = {
    # MCP clients load them from wherever they run, and show them again and again.
    "Cache-Control": "public, max-age=86400",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "X-Content-Type-Options": "nosniff",
}


class EntraSignIn(BaseModel):
    """How the page signs people in with Microsoft Entra ID."""

    authority: str
    client_id: str
    scope: str


class PageConfig(BaseModel):
    """What the page has to know before anybody signs in."""

    version: str
    build: str
    provider: str | None
    entra: EntraSignIn | None = None


def pages_router(settings: Settings, openai: OpenAIService, entra: EntraConfig | None) -> APIRouter:
    """Returns the routes of the page, which need no key: what it shows it asks for with the visitor's.

    Args:
        settings: The settings.
        openai: Tells which provider answers.
        entra: Where people sign in; None where Entra ID is off.
    """
    router = APIRouter(include_in_schema=False, route_class=DeferredRoute)
    headers = page_headers(media_origin(settings), entra.authority if entra else None)
    index = StaticFile(_read_index, HTML, headers)
    current: str | None = None
    files = {
        path.name: page_file(
            path.name,
            _MEDIA_TYPES[path.suffix],
            _ICON_HEADERS if path.suffix == ICON_SUFFIX else headers,
        )
        for path in PAGES.iterdir()
        if path.suffix in _MEDIA_TYPES
    }

    @router.get(PAGE_PATH, name="page")
    async def get_page(request: Request) -> Response:
        return await index.respond(request)

    @router.get(CONFIG_PATH, name="page_config")
    async def get_config() -> PageConfig:
        return PageConfig(
            version=__version__,
            build=settings.build_id,
            provider=_provider(openai),
            entra=_entra_sign_in(entra),
        )

    @router.get(f"{PAGE_FILES_PATH}/{{file:path}}", name="page_file")
    async def get_file(request: Request, file: str) -> Response:
        nonlocal current
        revision, _, name = file.rpartition("/")
        found = files.get(name)
        if found is None or "/" in revision:
            raise NotFound("The page has no such file.")
        response = await found.respond(request)
        # A page of another revision, of before a deployment, gets what there is, and does not keep it.
        if revision and current is None:
            current = await asyncio.to_thread(page_revision)
        if revision and revision == current:
            response.headers["Cache-Control"] = _IMMUTABLE
        return response

    return router


def _read_index() -> bytes:
    """Returns the page with the revision in the paths of its files, which browsers then keep.

    Its modules import each other by relative paths, and so have the revision too.
    """
    html = (PAGES / "index.html").read_text("utf-8")
    return html.replace(f'"{PAGE_FILES_PATH}/', f'"{PAGE_FILES_PATH}/{page_revision()}/').encode()


def page_headers(storage: str | None, authority: str | None) -> dict[str, str]:
    """Returns the headers of the page and its files.

    Args:
        storage: Origin of the links to media, where it is another than the app's.
        authority: Origin where people sign in, where that is possible.
    """
    called = " ".join(filter(None, ("'self'", authority)))
    media = " ".join(filter(None, ("'self' blob:", storage)))
    policy = (
        f"default-src 'self'; img-src {media}; media-src {media}; connect-src {called}; "
        "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'"
    )
    return {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-cache",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }


def _entra_sign_in(entra: EntraConfig | None) -> EntraSignIn | None:
    if entra is None:
        return None
    return EntraSignIn(
        authority=entra.tenant_authority,
        client_id=entra.client_id,
        # The identifier URI that is the same wherever the page is opened.
        scope=f"{entra.app_uri}/{ALL_DEFAULT_SCOPES}",
    )


def _provider(openai: OpenAIService) -> str | None:
    endpoint = openai.endpoints.find(Capability.CHAT)
    if endpoint is None:
        return None
    key = endpoint.config.api_key
    is_local = urlsplit(endpoint.config.base_url).hostname in ("127.0.0.1", "localhost")
    is_stand_in = is_local and key is not None and key.get_secret_value() == STAND_IN
    return STAND_IN if is_stand_in else endpoint.config.label
