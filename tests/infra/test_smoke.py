"""The smoke test itself: that it passes on a working app, and fails on every other."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from shared import __version__
from shared.app import create_app
from shared.settings import load_settings
from tests.conftest import KEY, ThreadServer

PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)

Change = Callable[[str], dict[str, Response]]


class Changed:
    """The app, with other answers to some paths."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.answers: dict[str, Response] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self.answers.get(scope.get("path", ""))
        has_key = any(name == b"authorization" for name, _ in scope.get("headers", ()))
        if answer is None or (scope["path"].startswith("/tools/") and not has_key):
            await self._app(scope, receive, send)
        else:
            await answer(scope, receive, send)


@pytest.fixture
def serve(environment: dict[str, str]) -> Iterator[Callable[[Change], str]]:
    """Serves the app over HTTP with some answers changed, and returns its origin."""
    with ExitStack() as stack:

        def start(change: Change) -> str:
            app = Changed(create_app(load_settings(environment)))
            origin = stack.enter_context(ThreadServer(app)).origin
            app.answers = change(origin)
            return origin

        yield start


def smoke(origin: str, *options: str, key: str = KEY) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.smoke", origin, *options],
        env={"PATH": os.environ["PATH"], "SMOKE_API_KEY": key},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def health(build: str, version: str) -> Response:
    return JSONResponse({"status": "healthy", "build": build, "version": version})


def media(origin: str, picture: Response) -> dict[str, Response]:
    return {
        "/tools/generate_image": JSONResponse({"media": [{"url": f"{origin}/picture"}]}),
        "/picture": picture,
    }


def test_smoke_test_passes_on_a_working_app(app_origin: str) -> None:
    status, output = smoke(app_origin, "--without-images")
    assert status == 0, output
    assert [line.split()[0] for line in output.splitlines()] == [
        *(["ok"] * 4),
        "skipped",
        "passed",
    ]


def test_smoke_test_opens_the_picture_without_a_key(serve: Callable[[Change], str]) -> None:
    picture = Response(PICTURE, media_type="image/png")
    status, output = smoke(serve(lambda origin: media(origin, picture)))
    assert status == 0, output
    assert f"picture: {len(PICTURE)} bytes of image/png" in output


@pytest.mark.parametrize(
    "picture",
    [
        Response("gone", 404),
        Response("<html>", media_type="text/html"),
        Response("no picture", media_type="image/png"),
    ],
)
def test_picture_that_does_not_open_is_a_failure(
    serve: Callable[[Change], str], picture: Response
) -> None:
    status, output = smoke(serve(lambda origin: media(origin, picture)))
    assert status == 1
    assert "FAILED   the picture's URL" in output


def test_smoke_test_waits_for_the_build_in_the_version_of_the_code(
    serve: Callable[[Change], str],
) -> None:
    origin = serve(lambda _: {"/health": health("shown", f"{__version__}+abc.dirty")})
    status, output = smoke(origin, "--without-images", "--build", "abc-dirty", "--timeout", "0")
    assert status == 0, output


@pytest.mark.parametrize(
    ("build", "version"),
    [("abc", __version__), ("abc", f"{__version__}+old"), ("abc", f"{__version__}+abcd")],
)
def test_build_that_is_not_up_is_a_failure(
    serve: Callable[[Change], str], build: str, version: str
) -> None:
    origin = serve(lambda _: {"/health": health(build, version)})
    status, output = smoke(origin, "--without-images", "--build", "abc", "--timeout", "0")
    assert status == 1
    assert "FAILED   build abc did not come up" in output


def test_wrong_key_is_a_failure(app_origin: str) -> None:
    status, output = smoke(app_origin, "--without-images", key="wrong")
    assert status == 1
    assert "FAILED   MCP tools/list: HTTP 401" in output


def test_app_that_lets_strangers_in_is_a_failure(serve: Callable[[Change], str]) -> None:
    origin = serve(lambda _: {"/chat": JSONResponse({})})
    status, output = smoke(origin, "--without-images")
    assert status == 1
    assert "FAILED   /chat without a key: HTTP 200" in output


def test_unhealthy_app_is_a_failure_that_says_why(
    environment: dict[str, str], serve: Callable[[Change], str]
) -> None:
    environment["CHAT_MAX_TURNS"] = "many"
    status, output = smoke(serve(lambda _: {}), "--without-images")
    assert status == 1
    assert "FAILED   health: the app is 'unhealthy'" in output
    assert "CHAT_MAX_TURNS" in output


def test_app_that_does_not_answer_is_a_failure(unused_port: int) -> None:
    status, output = smoke(f"http://127.0.0.1:{unused_port}", "--without-images")
    assert status == 1
    assert "does not answer" in output


def test_key_is_needed_and_never_printed(app_origin: str) -> None:
    status, output = smoke(app_origin, key="")
    assert status == 2
    assert "SMOKE_API_KEY" in output
    assert KEY not in smoke(app_origin)[1]


def process(origin: str, *options: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.smoke.process", origin, *options],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_process_that_goes_on_is_told_from_another_and_from_another_build(
    serve: Callable[[Change], str], tmp_path: Path
) -> None:
    origin = serve(lambda _: {})
    earlier = tmp_path / "earlier.json"
    status, output = process(origin)
    earlier.write_text(output)
    assert status == 0, output
    status, output = process(origin, "--same-as", str(earlier))
    assert (status, output.splitlines()[-1]) == (0, "ok       the same process with the same build")

    seen = json.loads(earlier.read_text())
    earlier.write_text(json.dumps(seen | {"started": seen["started"] - 3600}))
    status, output = process(origin, "--same-as", str(earlier))
    assert status == 1
    assert "another process, which started 3600 s later" in output
    earlier.write_text(json.dumps(seen | {"build": "old"}))
    status, output = process(origin, "--same-as", str(earlier))
    assert status == 1
    assert "not old" in output


def test_app_that_does_not_answer_has_no_process(unused_port: int) -> None:
    status, output = process(f"http://127.0.0.1:{unused_port}")
    assert status == 1
    assert "FAILED" in output
    assert "Traceback" not in output
