"""The README's promises, tried as a reader would."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from shared.app import create_app
from shared.settings import load_settings
from tests.conftest import KEY, ThreadServer, digest

README = (Path(__file__).parent.parent / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


CURLS = [
    command
    for block in blocks("sh")
    for command in re.findall(r"^curl (?:.*\\\n)*.*$", block, re.MULTILINE)
    if "$ADMIN_KEY" not in command
]


def test_there_are_commands_to_try() -> None:
    assert len(CURLS) == 4


@pytest.mark.parametrize("command", CURLS)
def test_command_works_as_written(command: str, app_origin: str) -> None:
    completed = subprocess.run(
        ["bash", "-c", command.replace("http://localhost:7071", app_origin)],
        env={"MCP_API_KEY": KEY, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    # Of a stream, the last event holds the whole answer.
    answer = json.loads(completed.stdout.rpartition("data: ")[2])
    assert "detail" not in answer
    assert answer.get("finish_reason", "stop") == "stop"
    assert answer.get("media", [{}])


@pytest.mark.parametrize("snippet", blocks("json"))
def test_client_settings_are_json(snippet: str) -> None:
    assert json.loads(snippet)


def test_keys_are_made_as_written() -> None:
    (block,) = [block for block in blocks("sh") if "sha256" in block]
    completed = subprocess.run(["bash", "-c", block], capture_output=True, text=True, check=True)
    alice, web, setting = [line.split(":", 1)[1].strip() for line in completed.stdout.splitlines()]
    assert json.loads(json.loads(setting)) == {
        "alice": digest(alice),
        "web": {"sha256": digest(web), "scopes": ["chat", "act-as"]},
    }


def test_stored_keys_are_made_and_rotated_as_written(environment: dict[str, str]) -> None:
    (block,) = [block for block in blocks("sh") if "$ADMIN_KEY" in block]
    keys = {"boss": {"sha256": digest(KEY), "scopes": ["admin"]}}
    settings = environment | {"MCP_API_KEY": "", "API_KEYS": json.dumps(keys)}
    with ThreadServer(create_app(load_settings(settings))) as server:
        completed = subprocess.run(
            ["bash", "-c", block.replace("http://localhost:7071", server.origin)],
            env={"ADMIN_KEY": KEY, "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        )
    made, end = json.JSONDecoder().raw_decode(completed.stdout)
    rotated = json.loads(completed.stdout[end:])
    assert made["name"] == rotated["name"] == "alice"
    assert made["key"] != rotated["key"]
