"""When a route is made, and how a request finds it."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter, FastAPI

from shared.routes.routing import DeferredRoute, add_routes, index_paths


def make_app() -> FastAPI:
    router = APIRouter(route_class=DeferredRoute)

    @router.get("/things/{name}", name="thing")
    async def thing(name: str) -> str:
        return f"the thing {name}"

    @router.get("/things/first", name="first")
    async def first() -> str:
        return "the first thing"

    @router.post("/things", name="add")
    async def add() -> str:
        return "one more thing"

    app = FastAPI()
    add_routes(app, router)
    return app


async def ask(app: FastAPI, method: str, path: str) -> httpx2.Response:
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.request(method, path)


async def test_a_path_without_parameters_comes_before_one_with_parameters() -> None:
    app = make_app()
    assert (await ask(app, "GET", "/things/first")).json() == "the thing first"
    index_paths(app)
    assert (await ask(app, "GET", "/things/first")).json() == "the first thing"


async def test_all_other_requests_are_searched_for() -> None:
    app = make_app()
    index_paths(app)
    assert (await ask(app, "GET", "/things/second")).json() == "the thing second"
    assert (await ask(app, "POST", "/things")).json() == "one more thing"
    assert (await ask(app, "DELETE", "/things")).status_code == 405
    assert (await ask(app, "GET", "/nothing")).status_code == 404


def test_the_name_of_a_route_is_the_id_of_its_operation() -> None:
    paths = make_app().openapi()["paths"]
    assert paths["/things"]["post"]["operationId"] == "add"


class Described:
    """Two routes that note what of them is made."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.app = FastAPI()
        router = APIRouter()
        router.routes += [self._route("first"), self._route("second")]
        add_routes(self.app, router)
        index_paths(self.app)

    def _route(self, name: str) -> DeferredRoute:
        async def answer() -> str:
            return name

        def describe() -> dict[str, Any]:
            self.made.append(name)
            return {"summary": f"The {name} one"}

        return DeferredRoute(f"/{name}", answer, name=name, methods=["get"], describe=describe)


async def test_a_request_makes_its_own_route_alone_and_once() -> None:
    described = Described()
    assert (await ask(described.app, "GET", "/missing")).status_code == 404
    assert (await ask(described.app, "POST", "/first")).status_code == 405
    assert described.made == []
    for _ in range(2):
        assert (await ask(described.app, "GET", "/second")).json() == "second"
    assert described.made == ["second"]


def test_the_document_makes_all_routes_once_however_many_threads_ask() -> None:
    described = Described()
    with ThreadPoolExecutor(8) as threads:
        documents = list(threads.map(lambda _: described.app.openapi()["paths"], range(8)))
    assert all(each == documents[0] for each in documents)
    assert documents[0]["/first"]["get"]["summary"] == "The first one"
    assert sorted(described.made) == ["first", "second"]


def test_a_route_lacks_what_no_route_has() -> None:
    [route, _] = [each for each in Described().app.routes if isinstance(each, DeferredRoute)]
    with pytest.raises(AttributeError, match="'colour'"):
        _ = route.colour
    assert not hasattr(route, "__wrapped__")
