"""`python -m local mcp-stdio`: the same server for clients that start a command."""

import asyncio
import json
import os
import re
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TextIO

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.extension import ClientExtension
from mcp.client.stdio import stdio_client

from local.server import LOOPBACK
from tests.conftest import TOOLS, StandIn
from tests.mcp.support import (
    MODES,
    PROJECT,
    SERVER_TIME,
    TIMEOUT,
    initialize,
    notification,
    process_environment,
    request,
)
from tests.mcp.task_client import TaskSupport
from tests.warm import warm_command

ARGUMENTS = ["-m", "local", "mcp-stdio"]
COLD = [sys.executable, *ARGUMENTS]
END = b""
"""Sent to end standard input: Python 3.11 leaves it open when it is given nothing to send."""
STAND_IN_NOTICE = "No provider is configured: a local stand-in answers, not a model."


@pytest.fixture
def error_log(tmp_path: Path) -> Iterator[TextIO]:
    """Where the standard error of the server goes."""
    with (tmp_path / "stderr.txt").open("w+") as log:
        yield log


def text_of(log: TextIO) -> str:
    """What has been written to the log so far."""
    log.seek(0)
    return log.read()


@asynccontextmanager
async def started(
    environment: dict[str, str],
    mode: str,
    error_log: TextIO,
    *extensions: ClientExtension,
    options: Sequence[str] = (),
) -> AsyncIterator[Client]:
    """The official client, connected to a server that it started."""
    command, *arguments = warm_command([*ARGUMENTS, *options])
    parameters = StdioServerParameters(
        command=command, args=arguments, env=environment, cwd=PROJECT
    )
    transport = stdio_client(parameters, errlog=error_log)
    async with Client(
        transport, mode=mode, read_timeout_seconds=TIMEOUT, extensions=extensions
    ) as client:
        yield client


async def test_client_lists_and_calls_the_tools(
    mode: str, stand_in: StandIn, error_log: TextIO
) -> None:
    stand_in.fault(text="Good day.")
    environment = process_environment(OPENAI_BASE_URL=stand_in.base_url, OPENAI_API_KEY="sk-test")
    async with started(environment, mode, error_log) as client:
        assert client.protocol_version == MODES[mode]
        assert [tool.name for tool in (await client.list_tools()).tools] == TOOLS
        answer = await client.call_tool("generate", {"prompt": "Say hello."})
        clock = await client.call_tool("server_time")
        unknown = await client.call_tool("paint")
        [contents] = (await client.read_resource("models://supported")).contents
    assert answer.structured_content == {
        "text": "Good day.",
        "model": "gpt-6-luna",
        "finish_reason": "stop",
    }
    assert clock.structured_content is not None
    assert re.fullmatch(SERVER_TIME, clock.structured_content["server_time"])
    assert unknown.is_error
    assert contents.uri == "models://supported"
    assert STAND_IN_NOTICE not in text_of(error_log)


async def test_picture_can_be_a_task(stand_in: StandIn, error_log: TextIO, tmp_path: Path) -> None:
    environment = process_environment(
        OPENAI_BASE_URL=stand_in.base_url,
        OPENAI_API_KEY="sk-test",
        LOCAL_STORAGE_PATH=str(tmp_path),
    )
    support = TaskSupport()
    async with started(environment, "auto", error_log, support) as client:
        drawn = await client.call_tool("generate_image", {"prompt": "A hill", "size": "32x32"})
    assert [each.type for each in drawn.content] == ["text", "resource_link", "image"]
    assert support.seen[-1] == "Completed."


async def test_results_have_the_kinds_of_content_that_the_command_names(
    stand_in: StandIn, error_log: TextIO, tmp_path: Path
) -> None:
    environment = process_environment(
        OPENAI_BASE_URL=stand_in.base_url,
        OPENAI_API_KEY="sk-test",
        LOCAL_STORAGE_PATH=str(tmp_path),
    )
    options = ["--content", "text,image"]
    async with started(environment, "auto", error_log, options=options) as client:
        drawn = await client.call_tool("generate_image", {"prompt": "A hill", "size": "32x32"})
    assert [each.type for each in drawn.content] == ["text", "image"]


async def test_without_a_provider_a_stand_in_answers_and_the_server_says_so(
    mode: str, error_log: TextIO
) -> None:
    async with started(process_environment(), mode, error_log) as client:
        answer = await client.call_tool("generate", {"prompt": "Say hello."})
    assert answer.structured_content is not None
    assert answer.structured_content["text"].endswith("You said: Say hello.")
    assert STAND_IN_NOTICE in text_of(error_log)


@asynccontextmanager
async def piped(
    environment: dict[str, str], command: list[str] | None = None
) -> AsyncIterator[Process]:
    """A server whose pipes the test holds itself."""
    process = await asyncio.create_subprocess_exec(
        *(command or warm_command(ARGUMENTS)),
        cwd=PROJECT,
        env={**os.environ, **environment},
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        async with asyncio.timeout(TIMEOUT):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_standard_output_holds_nothing_but_protocol_and_its_input_ends_the_server() -> None:
    messages = [
        initialize("2025-11-25", 0),
        notification("notifications/initialized"),
        request(1, "tools/call", {"name": "generate", "arguments": {"prompt": "Say hello."}}),
        request(2, "tools/call", {"name": "server_time"}),
    ]
    # What is imported could write, too.
    async with piped(process_environment(LOG_LEVEL="debug"), COLD) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        for message in messages:
            server.stdin.write(json.dumps(message).encode() + b"\n")
        lines = [await server.stdout.readline() for _ in range(3)]
        rest, complaints = await server.communicate(END)
    answers = [json.loads(line) for line in lines]
    assert sorted(answer["id"] for answer in answers) == [0, 1, 2]
    assert all("result" in answer for answer in answers)
    assert (rest, server.returncode) == (b"", 0)
    assert b"Traceback" not in complaints


async def test_input_that_ends_during_a_call_ends_the_server() -> None:
    call = request(1, "tools/call", {"name": "generate", "arguments": {"prompt": "Say hello."}})
    with socket.create_server((LOOPBACK, 0)) as silent_provider:
        silent_provider.setblocking(False)
        port = silent_provider.getsockname()[1]
        environment = process_environment(
            OPENAI_BASE_URL=f"http://{LOOPBACK}:{port}/v1", OPENAI_API_KEY="sk-test"
        )
        async with piped(environment) as server:
            assert server.stdin is not None
            for message in (initialize("2025-11-25", 0), call):
                server.stdin.write(json.dumps(message).encode() + b"\n")
            connection, _ = await asyncio.get_running_loop().sock_accept(silent_provider)
            with connection:
                output, _ = await server.communicate(END)
    answers = [json.loads(line) for line in output.splitlines()]
    assert [(answer["id"], "error" in answer) for answer in answers] == [(0, False), (1, True)]
    assert server.returncode == 0


async def test_line_that_is_no_message_does_not_end_the_server() -> None:
    async with piped(process_environment()) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        for line in (b"{broken", b"7", json.dumps(initialize("2025-11-25", 1)).encode()):
            server.stdin.write(line + b"\n")
        for _ in range(10):
            if json.loads(await server.stdout.readline()).get("id") == 1:
                break
        await server.communicate(END)
    assert server.returncode == 0


async def test_malformed_setting_is_named_on_standard_error() -> None:
    async with piped(process_environment(REQUEST_DEADLINE_SECONDS="soon")) as server:
        output, complaints = await server.communicate(END)
    assert (output, server.returncode) == (b"", 1)
    assert b"The setting REQUEST_DEADLINE_SECONDS must be a number" in complaints
