"""`python -m local` as a newcomer meets it: its console, its commands, its end."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.config import ConfigError, apply_local_settings, route_prefix, unknown_settings
from shared.settings import load_settings
from tests.conftest import StandIn
from tests.local_host.process import App
from tests.ports import free_port

PROJECT = Path(__file__).parent.parent.parent


@pytest.fixture(name="free_port")
def _free_port() -> int:
    return free_port()


@pytest.fixture
def app(free_port: int) -> Iterator[App]:
    running = App(free_port, {})
    yield running
    if running.process.poll() is None:
        running.stop()


@pytest.fixture
def cold_app(free_port: int) -> Iterator[App]:
    running = App(free_port, {}, is_cold=True)
    yield running
    running.stop()


def run_command(command: str, environment: dict[str, str] | None = None) -> str:
    completed = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={"PATH": os.environ["PATH"], **(environment or {})},
    )
    return completed.stdout


def commands(banner: str) -> list[str]:
    return [line for line in banner.splitlines() if line.startswith("curl")]


def test_newcomer_gets_a_key_and_three_commands_that_work(cold_app: App) -> None:
    app = cold_app
    assert re.search(r"^  Key +omf_\w{46}$", app.banner, re.MULTILINE)
    assert "STAND-IN" in app.banner
    time, chat, picture = map(run_command, commands(app.banner))
    assert json.loads(time)["server_time"].startswith("[MCP Server Time]")
    answer = json.loads(chat)
    assert "[MCP Server Time]" in answer["answer"]
    assert "[stand-in]" in answer["answer"]
    assert [call["name"] for call in answer["tool_calls"]] == ["server_time"]
    assert json.loads(picture)["media"][0]["content_type"] == "image/png"
    assert max(map(len, (time, chat, picture))) < 1000


def test_address_of_the_page_signs_in_with_a_key_that_may_do_everything(app: App) -> None:
    (address,) = re.findall(r"^  Page +(\S+)$", app.banner, re.MULTILINE)
    page, _, key = address.partition("#key=")
    assert "<html" in run_command(f"curl -s {page}")
    me = json.loads(run_command(f"curl -s {page}me -H 'X-Api-Key: {key}'"))
    assert me["principal"] == "default"
    assert "admin" in me["scopes"]


def test_key_is_the_same_at_the_next_start_and_where_it_is_exported(
    app: App, free_port: int
) -> None:
    (key,) = re.findall(r"^  Key +(omf_\w{46})$", app.banner, re.MULTILINE)
    app.stop()
    for environment in ({}, {"MCP_API_KEY": key}):
        again = App(free_port, environment)
        again.stop()
        assert again.banner == app.banner


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly_when_told_to(app: App, number: signal.Signals) -> None:
    run_command(commands(app.banner)[0])
    errors = app.stop(number)
    assert app.process.returncode == 0
    assert "Stopping" in errors
    assert "Traceback" not in errors
    assert "Error" not in errors


def test_one_line_is_logged_for_each_request(app: App) -> None:
    for command in commands(app.banner):
        run_command(command)
    lines = [line for line in app.stop().splitlines() if " request " in line]
    routes = [json.loads(line.split(" request ")[1])["route"] for line in lines]
    assert routes == ["/server_time", "/chat", "/tools/generate_image"]


def test_configured_provider_and_key_are_used_and_not_printed(
    free_port: int, stand_in: StandIn
) -> None:
    environment = {
        "OPENAI_BASE_URL": stand_in.base_url,
        "OPENAI_API_KEY": "sk-configured",
        "GEMINI_API_KEY": "unused",
        "MCP_API_KEY": "my-own-key",
    }
    app = App(free_port, environment)
    try:
        assert "STAND-IN" not in app.banner
        assert f"Provider   compatible: gpt-6-luna at {stand_in.base_url}\n" in app.banner
        assert "GEMINI_API_KEY is set too, and not used: OPENAI_API_KEY comes first." in app.banner
        answer = json.loads(run_command(commands(app.banner)[1], {"MCP_API_KEY": "my-own-key"}))
        assert "[MCP Server Time]" in answer["answer"]
        assert stand_in.requests()[0]["headers"]["authorization"] == "Bearer sk-configured"
    finally:
        errors = app.stop()
    for secret in ("sk-configured", "my-own-key"):
        assert secret not in app.banner + errors


def test_malformed_setting_is_shown_and_the_app_answers_with_it(free_port: int) -> None:
    app = App(free_port, {"CHAT_MAX_TURNS": "many"})
    try:
        assert "PROBLEM    The setting CHAT_MAX_TURNS" in app.banner
        health = json.loads(run_command(f"curl -s http://localhost:{free_port}/health"))
        assert health["status"] == "unhealthy"
        # The command that is printed has a key, which makes the answer tell more.
        [command] = commands(app.banner)
        assert "The setting CHAT_MAX_TURNS must be an integer." in run_command(command)
    finally:
        errors = app.stop()
    assert "Traceback" not in errors


def test_taken_port_is_a_sentence(app: App, free_port: int) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "local", "--port", str(free_port)],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert second.returncode == 1
    assert f"Port {free_port} cannot be used" in second.stderr
    assert "Traceback" not in second.stderr


def test_stdio_ends_on_the_first_signal() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "local", "mcp-stdio"],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"]},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ["mcp-stdio", "--content", "text,links"],
            "--content: 'links' is no kind of content. Name",
        ),
        (["--content", "text"], "--content is for the command mcp-stdio"),
    ],
)
def test_kinds_of_content_that_cannot_be_meant_are_refused(
    arguments: list[str], complaint: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "local", *arguments],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"]},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode != 0
    assert complaint in ended.stderr
    assert "Traceback" not in ended.stderr


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "local.settings.json"
    path.write_text(text, encoding="utf-8")
    return path


def test_local_settings_fill_what_the_environment_leaves_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SETTING_ONE", "environment")
    monkeypatch.setenv("SETTING_TWO", " ")
    values = {"SETTING_ONE": "file", "SETTING_TWO": "file"}
    apply_local_settings(write(tmp_path, "\ufeff" + json.dumps({"Values": values})))
    assert (os.environ["SETTING_ONE"], os.environ.pop("SETTING_TWO")) == ("environment", "file")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "local.settings.json is not valid JSON"),
        ("[]", "must hold a JSON object"),
        ('{"Values": []}', "'Values' must be a JSON object"),
        ('{"Values": {"A_NUMBER": 5}}', "'A_NUMBER' in 'Values' must be a string"),
    ],
)
def test_broken_local_settings_are_a_sentence(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(complaint)):
        apply_local_settings(write(tmp_path, text))


def test_missing_local_settings_are_fine(tmp_path: Path) -> None:
    before = dict(os.environ)
    apply_local_settings(tmp_path / "none.json")
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("host", "prefix"),
    [
        ({}, "api"),
        ({"extensions": {"http": {"routePrefix": ""}}}, ""),
        ({"extensions": {"http": {"routePrefix": "/v2/"}}}, "v2"),
    ],
)
def test_route_prefix_is_read_as_the_functions_host_does(
    tmp_path: Path, host: dict[str, object], prefix: str
) -> None:
    path = tmp_path / "host.json"
    path.write_text(json.dumps(host))
    assert route_prefix(path) == prefix


def test_setting_that_nothing_reads_is_named(tmp_path: Path) -> None:
    path = tmp_path / "local.settings.json"
    servers = '{"docs": {"url": "https://docs.example", "bearer_token_setting": "DOCS_TOKEN"}}'
    values = {
        "AzureWebJobsStorage": "",
        "FUNCTIONS_WORKER_RUNTIME": "python",
        "DOCS_TOKEN": "t",
        "MCP_SERVERS": servers,
        "OPENAI_API_KYE": "sk",
    }
    path.write_text(json.dumps({"Values": values, "MCP_API_KEY": "k"}))
    settings = load_settings({"MCP_SERVERS": servers, "DOCS_TOKEN": "t"})
    assert unknown_settings(settings, path) == [
        "local.settings.json: no setting is called OPENAI_API_KYE. Is it OPENAI_API_KEY?",
        "local.settings.json: MCP_API_KEY counts only inside of 'Values'.",
    ]
