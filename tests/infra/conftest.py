"""What the tests of the deployment share."""

import json
import re
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.package import runtime_python
from shared.app import create_app
from shared.settings import load_settings
from tests.conftest import ThreadServer
from tests.infra.recorders import Recorders
from tests.selection import leave_out

FOLDER = Path(__file__).parent

collect_ignore: list[str] = []
if f"{sys.version_info.major}.{sys.version_info.minor}" != runtime_python():
    collect_ignore += ["test_package.py", "test_azd_up.py", "artifact.py"]
    reason = f"a package is built with the runtime's Python {runtime_python()} only."
    leave_out("tests/infra/test_package.py and test_azd_up.py", reason)


@pytest.fixture(autouse=True)
def no_authorities() -> None:
    """Leaves the system's authorities to the commands that are run here."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if FOLDER in item.path.parents:
            item.add_marker(pytest.mark.any_python)


Serve = Callable[[dict[str, str]], str]


@pytest.fixture
def serve(recorders: Recorders) -> Iterator[Serve]:
    """Serves the app that recorders deploy to, and returns its origin."""
    with ExitStack() as stack:

        def start(environment: dict[str, str]) -> str:
            app = Deployed(create_app(load_settings(environment)), recorders.deployed)
            return stack.enter_context(ThreadServer(app)).origin

        yield start


class Deployed:
    """The app, with the version of the package that was uploaded last.

    Args:
        app: The app.
        package: That package; none before the first upload.
    """

    def __init__(self, app: ASGIApp, package: Path) -> None:
        self._app = app
        self._package = package

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_version(message: Message) -> None:
            if message["type"] == "http.response.body" and scope["path"] == "/health":
                body = json.loads(message["body"])
                # As long as before: the length has been announced.
                text = json.dumps(body | {"version": self._version()})
                message = {**message, "body": text.encode()}
            if message["type"] == "http.response.start" and scope["path"] == "/health":
                headers = [pair for pair in message["headers"] if pair[0] != b"content-length"]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, send_version)

    def _version(self) -> str:
        if not self._package.exists():
            return "0.0.1+old"
        with zipfile.ZipFile(self._package) as package:
            text = package.read("shared/__init__.py").decode()
        (version,) = re.findall(r'^__version__ = "(.+)"$', text, re.MULTILINE)
        return str(version)
