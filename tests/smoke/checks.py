"""What the smoke test checks, by nothing but the standard library."""

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any

TIMEOUT_SECONDS = 240
"""For one request: longer than Azure's front end waits."""

POLL_SECONDS = 5

PICTURE_PROMPT = "A plain red circle on a white background"
_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"GIF8")
"""How pictures begin: PNG, JPEG, WebP, GIF."""


class Failure(Exception):
    """Raised when the app does not do what it should; the sentence names the check."""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, whatever its status."""

    status: int
    headers: Message
    body: bytes

    def json(self, what: str, but: int = 200) -> Any:
        """Returns the body of a successful answer.

        Args:
            what: How to call it in a failure.
            but: A status that may be as well, because the body says more.

        Raises:
            Failure: It is not 200, or not JSON.
        """
        text = self.body.decode(errors="replace")
        if self.status not in (200, but):
            raise Failure(f"{what}: HTTP {self.status}: {text[:500]}")
        try:
            return json.loads(text)
        except ValueError:
            raise Failure(f"{what}: the answer is not JSON: {text[:200]!r}") from None


@dataclass(frozen=True)
class App:
    """The app under test.

    Attributes:
        base_url: Where it answers, without a slash at the end.
        key: A key of it.
    """

    base_url: str
    key: str

    def send(self, path: str, body: object = None, *, with_key: bool = True) -> Answer:
        """Sends a GET, or with a body a POST.

        Raises:
            Failure: There is no answer.
        """
        headers = {"Accept": "application/json, text/event-stream"}
        if with_key:
            headers["Authorization"] = f"Bearer {self.key}"
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        return fetch(f"{self.base_url}{path}", data, headers)


def fetch(url: str, data: bytes | None = None, headers: Mapping[str, str] | None = None) -> Answer:
    """Fetches a URL.

    Raises:
        Failure: There is no answer.
    """
    if not url.startswith(("https://", "http://")):
        raise Failure(f"{url[:100]!r} is not a URL")
    request = urllib.request.Request(url, data, dict(headers or {}))  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
            return Answer(response.status, response.headers, response.read())
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.headers, error.read())
    except (OSError, ValueError) as error:
        raise Failure(f"{url} does not answer: {error}") from error


def wait_for_build(app: App, build: str, seconds: float, report: Callable[[str], None]) -> None:
    """Waits until /health shows a build in its version, which only the package has.

    Raises:
        Failure: It did not in time; the sentence says what it showed last.
    """
    until = time.monotonic() + seconds
    last = ""
    while True:
        seen = _version(app)
        if seen.endswith(f"+{_in_version(build)}"):
            report(f"ok       build {build}")
            return
        line = f"waiting  for build {build}: {seen}"
        if line != last:
            report(line)
            last = line
        if time.monotonic() >= until:
            raise Failure(f"build {build} did not come up in {seconds:.0f} s; {line}")
        time.sleep(POLL_SECONDS)


def shows_build(app: App, build: str) -> bool:
    """Returns whether the app answers with a build."""
    return _version(app).endswith(f"+{_in_version(build)}")


def _in_version(build: str) -> str:
    # As infra/package.py writes it into the version.
    return re.sub(r"[^a-z0-9]+", ".", build.lower()).strip(".")


def _version(app: App) -> str:
    try:
        return f"the app answers with version {_health(app)['version']}"
    except (Failure, KeyError, TypeError) as error:
        return f"no health yet ({error})"


def check(app: App, *, with_images: bool) -> Iterator[str]:
    """Yields a line for each check that passed.

    Raises:
        Failure: One did not.
    """
    yield _check_health(app)
    yield _check_that_strangers_stay_out(app)
    yield _check_mcp(app)
    yield _check_chat(app)
    yield _check_picture(app) if with_images else "skipped  picture (--without-images)"


def _health(app: App) -> Any:
    # With the key, because strangers are not told why a setting is malformed.
    return app.send("/health").json("health", but=503)


def _check_health(app: App) -> str:
    health = _health(app)
    if health.get("status") != "healthy":
        raise Failure(f"health: the app is {health.get('status')!r}: {json.dumps(health)}")
    return f"ok       health: version {health['version']}, build {health['build']}"


def _check_that_strangers_stay_out(app: App) -> str:
    for path in ("/chat", "/mcp", "/tools/server_time"):
        answer = app.send(path, {}, with_key=False)
        if answer.status != 401 or "Bearer" not in (answer.headers.get("WWW-Authenticate") or ""):
            raise Failure(
                f"{path} without a key: HTTP {answer.status} and not 401 with a challenge"
            )
    return "ok       401 without a key"


def _check_mcp(app: App) -> str:
    listed = _call_mcp(app, "tools/list", {})
    names = {tool["name"] for tool in listed.get("tools", [])}
    missing = {"chat_completion", "server_time"} - names
    if missing:
        raise Failure(f"MCP tools/list: {', '.join(sorted(missing))} missing of {sorted(names)}")
    called = _call_mcp(app, "tools/call", {"name": "server_time", "arguments": {}})
    if called.get("isError") or "[MCP Server Time]" not in json.dumps(called.get("content")):
        raise Failure(f"MCP tools/call server_time: {json.dumps(called)[:500]}")
    return f"ok       MCP: {len(names)} tools, server_time called"


def _call_mcp(app: App, method: str, params: object) -> dict[str, Any]:
    answer = app.send("/mcp", {"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    if answer.status == 200 and "event-stream" in (answer.headers.get("Content-Type") or ""):
        answer = Answer(200, answer.headers, _last_event(answer.body))
    message = answer.json(f"MCP {method}")
    if not isinstance(message.get("result"), dict):
        raise Failure(f"MCP {method}: {json.dumps(message)[:500]}")
    result: dict[str, Any] = message["result"]
    return result


def _last_event(body: bytes) -> bytes:
    events = body.replace(b"\r\n", b"\n").split(b"\n\n")
    with_data = [
        b"\n".join(line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:"))
        for event in events
    ]
    return next((data for data in reversed(with_data) if data), b"")


def _check_chat(app: App) -> str:
    question = "What is the current server time? Use the tool server_time and quote its answer."
    chat = app.send("/chat", {"message": question}).json("chat")
    called = [call["name"] for call in chat.get("tool_calls", []) if not call.get("is_error")]
    if not chat.get("answer") or "server_time" not in called:
        raise Failure(f"chat: no answer by the tool server_time: {json.dumps(chat)[:500]}")
    return f"ok       chat: {chat.get('model')} called server_time and answered"


def _check_picture(app: App) -> str:
    result = app.send("/tools/generate_image", {"prompt": PICTURE_PROMPT}).json("generate_image")
    try:
        url = result["media"][0]["url"]
    except (KeyError, IndexError, TypeError):
        raise Failure(f"generate_image: no URL in {json.dumps(result)[:500]}") from None
    # As a browser would: whoever has the link needs no key.
    picture = fetch(str(url))
    kind = picture.headers.get("Content-Type") or ""
    if picture.status != 200 or not kind.startswith("image/"):
        raise Failure(
            f"the picture's URL answers HTTP {picture.status} with {kind!r}. Where this machine may not "
            "reach the storage account, set MEDIA_PROXY_DOWNLOADS=true"
        )
    if not picture.body.startswith(_SIGNATURES):
        raise Failure(
            f"the picture's URL answers {kind!r}, but its {len(picture.body)} bytes are none"
        )
    return f"ok       picture: {len(picture.body)} bytes of {kind} open without a key"
