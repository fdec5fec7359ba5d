"""`GET /openapi.json`, and `GET /docs` and `GET /redoc`, which show it.

The pages load nothing from another host: Swagger UI and Redoc come with the package `fastapi-offline`.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from fastapi import APIRouter, Request, Response

from shared.errors import NotFound
from shared.routes.routing import DeferredRoute
from shared.routes.static_files import HTML, JAVASCRIPT, StaticFile, page_file

OPENAPI_PATH = "/openapi.json"
DOCS_PATH = "/docs"
REDOC_PATH = "/redoc"

PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; worker-src blob:; connect-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
ASSET_HEADERS = {"Cache-Control": "public, max-age=3600", "X-Content-Type-Options": "nosniff"}
DOCUMENT_HEADERS = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}

_REMOTE_LOGO = b"https://cdn.redoc.ly/redoc/logo-mini.svg"
_EMPTY_IMAGE = b"data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="


def docs_router(make_document: Callable[[], bytes]) -> APIRouter:
    """Returns the routes of the API's description, which need no key.

    Args:
        make_document: Returns the OpenAPI document as JSON; called in a thread, once.
    """
    router = APIRouter(include_in_schema=False, route_class=DeferredRoute)
    document = StaticFile(make_document, "application/json", DOCUMENT_HEADERS)
    docs = page_file("docs.html", HTML, PAGE_HEADERS)
    redoc = page_file("redoc.html", HTML, PAGE_HEADERS)
    files = {
        "docs.js": page_file("docs.js", JAVASCRIPT, ASSET_HEADERS),
        "redoc.js": page_file("redoc.js", JAVASCRIPT, ASSET_HEADERS),
        "swagger-ui-bundle.js": _asset("swagger-ui-bundle.js", JAVASCRIPT),
        "swagger-ui.css": _asset("swagger-ui.css", "text/css; charset=utf-8"),
        "redoc.standalone.js": StaticFile(_read_redoc, JAVASCRIPT, ASSET_HEADERS),
    }

    @router.get(OPENAPI_PATH, name="openapi")
    async def get_document(request: Request) -> Response:
        return await document.respond(request)

    @router.get(DOCS_PATH, name="docs")
    async def get_docs(request: Request) -> Response:
        return await docs.respond(request)

    @router.get(REDOC_PATH, name="redoc")
    async def get_redoc(request: Request) -> Response:
        return await redoc.respond(request)

    @router.get(f"{DOCS_PATH}/{{file}}", name="docs_file")
    async def get_file(request: Request, file: str) -> Response:
        found = files.get(file)
        if found is None:
            raise NotFound("The documentation pages have no such file.")
        return await found.respond(request)

    return router


def _asset(name: str, media_type: str) -> StaticFile:
    return StaticFile(partial(_read_asset, name), media_type, ASSET_HEADERS)


def _read_asset(name: str) -> bytes:
    # On first use: the import costs a cold start, and most instances never show the pages.
    import fastapi_offline

    return (Path(fastapi_offline.__file__).parent / "static" / name).read_bytes()


def _read_redoc() -> bytes:
    return _read_asset("redoc.standalone.js").replace(_REMOTE_LOGO, _EMPTY_IMAGE)
