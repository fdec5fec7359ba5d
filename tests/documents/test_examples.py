"""The examples of the documents, tried as a reader would."""

import ast
import asyncio
import inspect
import json
import subprocess
import tomllib
from types import CodeType
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.identity import ManagedIdentityCredential
from pytest_mock import MockerFixture

from shared.app import create_app
from shared.settings import load_settings
from tests.conftest import KEY, ThreadServer, digest
from tests.documents.markdown import LOCAL, README, blocks, curls


def run_shell(command: str, origin: str, variables: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-c", command.replace(LOCAL, origin)],
        env={"PATH": "/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_there_are_commands_to_try() -> None:
    assert len(curls(README)) == 2
    assert len(curls()) >= 4


@pytest.mark.parametrize("command", curls(), ids=lambda command: command.split()[2])
def test_command_works_as_written(command: str, app_origin: str) -> None:
    # Of a stream, the last event holds the whole answer.
    answer = json.loads(
        run_shell(command, app_origin, {"GATEWAY_KEY": KEY}).rpartition("data: ")[2]
    )
    assert "detail" not in answer
    assert answer.get("finish_reason", "stop") == "stop"
    assert answer.get("media", [{}])


@pytest.mark.parametrize("snippet", blocks("json"))
def test_block_of_json_is_json(snippet: str) -> None:
    assert json.loads(snippet)


@pytest.mark.parametrize("snippet", blocks("toml"))
def test_block_of_toml_is_toml(snippet: str) -> None:
    assert tomllib.loads(snippet)


@pytest.mark.parametrize("snippet", sorted(set(blocks("python"))))
def test_python_runs_as_written(snippet: str, app_origin: str, mocker: MockerFixture) -> None:
    # Only Azure gives an identity a token.
    mocker.patch.object(ManagedIdentityCredential, "get_token", return_value=AccessToken("t", 0))
    code = compile(
        snippet.replace(LOCAL, app_origin), "snippet", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    )
    names = run_python(code, {"key": KEY})
    if "token" in names:
        assert names["token"] == "t"
    elif "completion" in names:
        assert names["completion"].choices[0].message.content
        names["client"].close()
    else:
        assert names["result"].structured_content["server_time"].startswith("[MCP Server Time]")


def run_python(code: CodeType, names: dict[str, Any]) -> dict[str, Any]:
    async def run() -> None:
        if inspect.iscoroutine(waiting := eval(code, names)):  # noqa: S307 - our own documents
            await waiting

    asyncio.run(run())
    return names


def test_keys_are_made_as_written() -> None:
    (block,) = [block for block in blocks("sh") if "sha256" in block]
    lines = run_shell(block, LOCAL, {}).splitlines()
    alice, web, setting = [line.split(":", 1)[1].strip() for line in lines]
    assert json.loads(json.loads(setting)) == {
        "alice": digest(alice),
        "web": {"sha256": digest(web), "scopes": ["chat", "act-as"]},
    }


def test_stored_keys_are_made_and_rotated_as_written(environment: dict[str, str]) -> None:
    (block,) = [block for block in blocks("sh") if "$ADMIN_KEY" in block]
    keys = {"boss": {"sha256": digest(KEY), "scopes": ["admin"]}}
    settings = environment | {"MCP_API_KEY": "", "API_KEYS": json.dumps(keys)}
    with ThreadServer(create_app(load_settings(settings))) as server:
        printed = run_shell(block, server.origin, {"ADMIN_KEY": KEY})
    made, end = json.JSONDecoder().raw_decode(printed)
    rotated = json.loads(printed[end:])
    assert made["name"] == rotated["name"] == "alice"
    assert made["key"] != rotated["key"]


@pytest.mark.parametrize(
    ("name", "block"),
    [
        (name, block)
        for name in ("LIMITS", "PRICES", "PROVIDERS")
        for block in blocks("json")
        if {"LIMITS": "requests_per_minute", "PRICES": '"cached"', "PROVIDERS": "key_setting"}[name]
        in block
    ],
)
def test_value_of_a_setting_is_accepted_as_written(name: str, block: str) -> None:
    settings = load_settings({name: block, "MAIN_KEY": "any", "BACKUP_KEY": "any"})
    assert settings.problems == ()
