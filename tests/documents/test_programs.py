"""The example programs and the files for editors, tried as their readers would."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import Receive, Scope, Send

from local.server import LOOPBACK
from shared.app import create_app
from shared.settings import load_settings
from tests.conftest import KEY, ThreadServer, digest
from tests.documents.markdown import LOCAL, PROJECT, blocks
from tests.node import NODE

EXAMPLES = PROJECT / "docs/examples"
COMMANDS = {
    "python": [sys.executable, str(EXAMPLES / "client.py")],
    "typescript": [NODE, str(EXAMPLES / "client.ts")],
}
REQUESTS = (PROJECT / "requests.http").read_text()
VSCODE = PROJECT / ".vscode"
DEVCONTAINER = PROJECT / ".devcontainer/devcontainer.json"


@pytest.fixture
def failing_origin(environment: dict[str, str], unused_port: int) -> Iterator[str]:
    """Origin of an app whose provider cannot be reached."""
    base_url = {"OPENAI_BASE_URL": f"http://{LOOPBACK}:{unused_port}/v1"}
    with ThreadServer(create_app(load_settings(environment | base_url))) as server:
        yield server.origin


def run(language: str, message: str, origin: str, key: str, cwd: Path) -> tuple[int, str, str]:
    done = subprocess.run(
        [*COMMANDS[language], message],
        env={
            "PATH": os.environ["PATH"],
            "TMPDIR": str(cwd),
            "GATEWAY_URL": origin,
            "GATEWAY_KEY": key,
        },
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("language", COMMANDS)
def test_client_shows_the_calls_and_saves_the_picture(
    language: str, app_origin: str, tmp_path: Path
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    status, output, errors = run(language, "Draw a lighthouse", app_origin, KEY, folder)
    assert (status, errors) == (0, "")
    assert output.startswith("[generate_image {")
    # Not in the current folder, which may be a clone of this repository.
    assert [path.is_dir() for path in folder.iterdir()] == [True]
    (picture,) = folder.glob("*/*")
    assert f"saved {picture}\n" in output
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert re.search(r"^cost: \$0\.\d{6}$", output, re.MULTILINE)


@pytest.mark.parametrize("language", COMMANDS)
def test_client_ends_with_the_sentence_of_an_error(
    language: str, app_origin: str, tmp_path: Path
) -> None:
    status, _, errors = run(language, "Hello", app_origin, "not-a-key", tmp_path)
    assert status == 1
    assert errors.startswith("unauthorized: A valid API key is required")
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize("language", COMMANDS)
def test_client_tells_of_an_error_inside_of_a_stream(
    language: str, failing_origin: str, tmp_path: Path
) -> None:
    status, _, errors = run(language, "Hello", failing_origin, KEY, tmp_path)
    assert status == 1
    assert errors.startswith("provider_unavailable: ")


@pytest.mark.parametrize("language", COMMANDS)
def test_client_without_a_key_says_what_to_set(language: str, tmp_path: Path) -> None:
    status, _, errors = run(language, "Hello", LOCAL, "", tmp_path)
    assert status == 1
    assert errors.startswith("Set GATEWAY_KEY ")
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize("language", COMMANDS)
def test_client_does_not_wait_for_a_spent_limit(
    language: str, environment: dict[str, str], tmp_path: Path
) -> None:
    keys = {"alice": {"sha256": digest(KEY), "limits": {"requests_per_day": 1}}}
    settings = environment | {"MCP_API_KEY": "", "API_KEYS": json.dumps(keys)}
    with ThreadServer(create_app(load_settings(settings))) as server:
        assert run(language, "Hello", server.origin, KEY, tmp_path)[0] == 0
        status, _, errors = run(language, "Hello", server.origin, KEY, tmp_path)
    assert status == 1
    assert errors.startswith("quota_exceeded: ")


@pytest.mark.parametrize("language", COMMANDS)
def test_client_does_not_wait_for_longer_than_a_minute(language: str, tmp_path: Path) -> None:
    error = {"detail": "Try again later.", "code": "storage_unavailable", "request_id": "r"}
    with ThreadServer(JSONResponse(error, 503, {"Retry-After": "3600"})) as server:
        status, _, errors = run(language, "Hello", server.origin, KEY, tmp_path)
    assert (status, errors) == (1, "storage_unavailable: Try again later. (request r)\n")


@pytest.mark.parametrize("language", COMMANDS)
def test_client_tries_again_after_a_limited_rate(language: str, tmp_path: Path) -> None:
    error = {"detail": "Too many.", "code": "rate_limited", "request_id": "r"}
    completed: dict[str, Any] = {"type": "chat.completed", "tool_calls": [], "usage": None}
    answers = [
        JSONResponse(error, 429, {"Retry-After": "0"}),
        PlainTextResponse(f"data: {json.dumps(completed)}\n\n"),
    ]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await answers.pop(0)(scope, receive, send)

    with ThreadServer(app) as server:
        status, output, errors = run(language, "Hello", server.origin, KEY, tmp_path)
    assert (status, errors, answers) == (0, "", [])
    assert "cost: unknown" in output


def requests() -> list[tuple[str, str, dict[str, str], str]]:
    """Returns method, URL, headers and body of each request of requests.http."""
    found = []
    for part in REQUESTS.split("###")[1:]:
        _, _, text = part.partition("\n")
        head, _, body = text.strip().partition("\n\n")
        line, *headers = head.splitlines()
        method, url = line.split()
        found.append((method, url, dict(each.split(": ", 1) for each in headers), body.strip()))
    return found


@pytest.mark.parametrize(
    ("method", "url", "headers", "body"), requests(), ids=lambda value: str(value)[:40]
)
def test_request_works_as_written(
    method: str, url: str, headers: dict[str, str], body: str, app_origin: str
) -> None:
    filled = {name: value.replace("{{key}}", KEY) for name, value in headers.items()}
    answer = httpx2.request(
        method,
        url.replace("{{host}}", app_origin),
        headers=filled,
        content=body.encode(),
        timeout=60,
    )
    # The key of the tests has no scope admin.
    assert answer.status_code == (403 if url.endswith("/keys") else 200)


def test_requests_are_for_the_local_app() -> None:
    assert f"@host = {LOCAL}\n" in REQUESTS


def load(path: Path) -> Any:
    return json.loads(path.read_text())


def test_vscode_knows_the_mcp_server_as_the_documents_say() -> None:
    assert load(VSCODE / "mcp.json") in [json.loads(block) for block in blocks("json")]


def test_tasks_and_container_use_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    commands = [task["command"] for task in load(VSCODE / "tasks.json")["tasks"]]
    commands.append(load(DEVCONTAINER)["postCreateCommand"])
    used = {command.removeprefix("make ") for command in commands}
    assert used
    assert used - targets == set()


def test_modules_that_are_debugged_exist() -> None:
    modules = {each["module"] for each in load(VSCODE / "launch.json")["configurations"]}
    assert modules == {"local", "pytest"}


def test_container_has_the_extensions_that_are_recommended() -> None:
    recommended = load(VSCODE / "extensions.json")["recommendations"]
    assert load(DEVCONTAINER)["customizations"]["vscode"]["extensions"] == recommended
    assert load(DEVCONTAINER)["forwardPorts"] == [7071]


def test_files_for_vscode_are_in_git_and_others_are_not() -> None:
    def is_ignored(name: str) -> bool:
        command = ["git", "check-ignore", "-q", f".vscode/{name}"]
        return subprocess.run(command, cwd=PROJECT, check=False).returncode == 0

    assert not any(is_ignored(path.name) for path in VSCODE.glob("*.json"))
    assert is_ignored("notes.txt")
