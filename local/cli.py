"""Runs the Functions app without Core Tools.

``mcp-stdio`` serves its MCP server over stdio, ``stand-in`` only the stand-in for OpenAI.
"""

import argparse
import asyncio
import errno
import importlib
import logging
import os
import socket
import sys
from pathlib import Path

from starlette.types import ASGIApp

from local.banner import banner
from local.config import ConfigError, apply_local_settings, route_prefix
from local.host import create_host
from local.key import key_for_local_work
from local.provider import stand_in_if_needed
from local.server import (
    GRACE_SECONDS,
    LOOPBACK,
    LoopbackServer,
    bind,
    exit_on_signals,
    stop_on_signals,
)
from local.stand_in import VIDEO_MODEL, Rule, create_stand_in, load_script
from local.stdio import serve_stdio
from shared.errors import InvalidRequest
from shared.mcp_server import KINDS, read_kinds

DEFAULT_PORT = 7071


def main() -> int:
    """Runs the command line and returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__.splitlines()[0])
    parser.add_argument(
        "command",
        nargs="?",
        choices=["serve", "mcp-stdio", "stand-in"],
        default="serve",
        help="serve: the app; mcp-stdio: its MCP server over stdio; stand-in: only that for OpenAI",
    )
    parser.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help="default: %(default)s; 0: any"
    )
    parser.add_argument(
        "--script", type=Path, metavar="FILE", help="stand-in: the rules to answer by, as JSON"
    )
    parser.add_argument(
        "--content",
        metavar="KINDS",
        help=f"mcp-stdio: the kinds of content that results may have, of {','.join(KINDS)}",
    )
    options = parser.parse_args()
    if options.script and options.command != "stand-in":
        parser.error("--script is for the command stand-in")
    if options.content is not None and options.command != "mcp-stdio":
        parser.error("--content is for the command mcp-stdio")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        apply_local_settings()
        if options.command == "mcp-stdio":
            content = None if options.content is None else _read_content(options.content)
            exit_on_signals()
            return asyncio.run(serve_stdio(content))
        if options.command == "stand-in":
            return asyncio.run(_serve_stand_in(options.port, options.script))
        return asyncio.run(serve(options.port))
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 1


async def serve(port: int, grace_seconds: float = GRACE_SECONDS) -> int:
    """Serves the app until a signal, and returns the exit status.

    Args:
        port: Where; 0 takes a free port.
        grace_seconds: How long open requests may go on after the first signal.

    Raises:
        ConfigError: The port or the configuration cannot be used.
    """
    key = key_for_local_work()
    async with stand_in_if_needed() as is_stand_in:
        prefix = route_prefix()
        bound = _bind(port)
        # As Core Tools does: links to media lead here.
        os.environ["WEBSITE_HOSTNAME"] = f"localhost:{bound.getsockname()[1]}"
        host = create_host(importlib.import_module("function_app"), prefix)
        server = _listen(host, bound, grace_seconds)
        base_url = f"http://localhost:{server.port}/{prefix}".rstrip("/")
        _print(banner(base_url, key, is_stand_in=is_stand_in))
        await server.run_until_stopped()
    return 0


async def _serve_stand_in(port: int, script: Path | None) -> int:
    server = _listen(create_stand_in(_load_rules(script)), _bind(port))
    _print(
        "The stand-in for OpenAI is running; it is no model. Press Ctrl-C to stop.\n"
        f"OPENAI_BASE_URL=http://{LOOPBACK}:{server.port}/v1\n"
        f"OPENAI_VIDEO_MODEL={VIDEO_MODEL}\n"
    )
    await server.run_until_stopped()
    return 0


def _read_content(named: str) -> frozenset[str]:
    try:
        return read_kinds(named)
    except InvalidRequest as error:
        raise ConfigError(f"--{error.detail}") from error


def _load_rules(script: Path | None) -> list[Rule]:
    try:
        return load_script(script) if script else []
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _bind(port: int) -> socket.socket:
    try:
        return bind(port)
    except (OSError, OverflowError) as error:
        reason = "it is in use" if getattr(error, "errno", None) == errno.EADDRINUSE else str(error)
        raise ConfigError(
            f"Port {port} cannot be used: {reason.rstrip('.')}. Choose another from 1024 to 65535: "
            "make run PORT=..., or --port ..."
        ) from error


def _listen(
    app: ASGIApp, bound: socket.socket, grace_seconds: float = GRACE_SECONDS
) -> LoopbackServer:
    server = LoopbackServer(app, bound, grace_seconds)
    stop_on_signals(server)
    # What is printed next may be tried at once.
    server.listen()
    return server


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
