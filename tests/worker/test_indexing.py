"""What the worker finds in the application."""

import re
from pathlib import Path

from fastapi.routing import iter_route_contexts

from local.config import PROJECT
from shared.app import create_app
from shared.settings import load_settings
from tests.worker.process import WorkerProcess, run_worker

CONTRACT = {
    "openapi": "openapi.json",
    "docs": "docs",
    "redoc": "redoc",
    "docs_file": "docs/{file}",
    "health": "health",
    "server_time": "server_time",
    "tools_list": "tools",
    "tool_of_connection": "tools/{name}",
    "tool_chat_completion": "tools/chat_completion",
    "tool_generate": "tools/generate",
    "tool_list_supported_models": "tools/list_supported_models",
    "tool_server_time": "tools/server_time",
    "chat": "chat",
    "mcp": "mcp",
    "openai_models": "v1/models",
    "openai_model": "v1/models/{*model}",
    "openai_chat_completions": "v1/chat/completions",
    "openai_responses": "v1/responses",
    "openai_embeddings": "v1/embeddings",
    "openai_moderations": "v1/moderations",
    "openai_images_generations": "v1/images/generations",
    "openai_images_edits": "v1/images/edits",
    "openai_audio_speech": "v1/audio/speech",
    "openai_audio_transcriptions": "v1/audio/transcriptions",
    "openai_unknown": "v1/{*path}",
}


def test_every_route_of_the_application_is_a_function(
    worker: WorkerProcess, app_settings: dict[str, str]
) -> None:
    routes = iter_route_contexts(create_app(load_settings(app_settings)).routes)
    expected = set()
    for route in routes:
        methods = frozenset(route.methods or ())
        # The Functions host writes the rest of a path in its own way.
        path = (
            "/{ignored:maxlength(0)?}"
            if route.path == "/"
            else re.sub(r"{(\w+):path}", r"{*\1}", route.path or "")
        )
        expected.add((route.name, path, methods | {"HEAD"} if "GET" in methods else methods))
    indexed = {
        (function["name"], f"/{function['route']}", frozenset(function["methods"]) - {"OPTIONS"})
        for function in worker.functions
    }
    assert indexed == expected
    assert len(worker.functions) == len(expected)


def test_functions_have_the_names_and_routes_of_the_contract(worker: WorkerProcess) -> None:
    indexed = {function["name"]: function["route"] for function in worker.functions}
    assert {name: indexed.get(name) for name in CONTRACT} == CONTRACT


def test_one_function_of_each_path_answers_preflights(worker: WorkerProcess) -> None:
    answering = [
        function["route"] for function in worker.functions if "OPTIONS" in function["methods"]
    ]
    assert sorted(answering) == sorted({function["route"] for function in worker.functions})


def test_worker_imports_the_package_shared_of_this_project(worker: WorkerProcess) -> None:
    assert Path(worker.shared_file) == PROJECT / "shared" / "__init__.py"


async def test_malformed_setting_leaves_the_functions_and_a_health_that_names_it(
    worker: WorkerProcess, app_settings: dict[str, str]
) -> None:
    malformed = {**app_settings, "CHAT_MAX_TURNS": "many"}
    (problem,) = load_settings(malformed).problems
    assert "CHAT_MAX_TURNS" in problem
    with run_worker(malformed) as process:
        assert process.functions == worker.functions
        async with process.client() as client:
            health = await client.get("/health")
            assert health.status_code == 503
            assert {key: health.json()[key] for key in ("status", "problems")} == {
                "status": "unhealthy",
                "problems": [problem],
            }
            for method, path in [("GET", "/tools"), ("POST", "/chat"), ("POST", "/mcp")]:
                refused = await client.request(method, path)
                assert refused.status_code == 503
                assert refused.json() == {
                    "detail": problem,
                    "code": "not_configured",
                    "request_id": refused.headers["x-request-id"],
                }
