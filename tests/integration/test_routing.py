"""How a request finds its route."""

import httpx2
from fastapi import APIRouter, FastAPI

from shared.routes.routing import add_routes, index_paths


def make_app() -> FastAPI:
    router = APIRouter()

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
