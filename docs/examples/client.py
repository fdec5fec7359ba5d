"""Asks the agent, shows what it does, saves what it makes: ``python client.py "Draw a lighthouse"``.

Needs httpx. ``GATEWAY_URL`` is where the app answers, ``GATEWAY_KEY`` a key with the scopes chat and
tools.
"""

import json
import mimetypes
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

ATTEMPTS = 3
RETRYABLE = {409, 429, 503}
"""Another request holds the conversation; a limit; storage or the app is not ready."""
MAX_WAIT_SECONDS = 60


class GatewayError(Exception):
    """Raised for the error of an answer or of a stream: ``detail`` says what to do."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['code']}: {error['detail']} (request {error['request_id']})")


def main(message: str) -> None:
    """Asks one question."""
    key = os.environ.get("GATEWAY_KEY")
    if not key:
        sys.exit("Set GATEWAY_KEY to a key with the scopes chat and tools; 'make run' prints one.")
    with httpx.Client(
        base_url=os.environ.get("GATEWAY_URL", "http://localhost:7071"),
        headers={"Authorization": f"Bearer {key}"},
        # The app sends a comment every 15 seconds while there is nothing to say.
        timeout=httpx.Timeout(10, read=60),
    ) as client:
        answer = ask(client, message)
        for call in answer["tool_calls"]:
            for medium in (call["result"] or {}).get("media", []):
                print("saved", save(client, medium))
        cost = (answer["usage"] or {}).get("cost_usd")
        print("cost:", "unknown" if cost is None else f"${cost:.6f}")


def ask(client: httpx.Client, message: str) -> dict[str, Any]:
    """Returns the whole answer, and prints its text as it comes."""
    # With the same key a repeat returns the first answer, and nothing is paid for twice.
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    for attempt in range(1, ATTEMPTS + 1):
        body = {"message": message, "stream": True}
        with client.stream("POST", "/chat", json=body, headers=headers) as response:
            if not response.is_error:
                return follow(events(response))
            response.read()
            seconds = seconds_to_wait(response, attempt)
            if seconds is None or attempt == ATTEMPTS:
                raise GatewayError(response.json())
        time.sleep(seconds)
    raise AssertionError


def seconds_to_wait(response: httpx.Response, attempt: int) -> float | None:
    """Returns after how many seconds to try again; None where that would not help soon."""
    if response.status_code not in RETRYABLE:
        return None
    # A spent quota, quota_exceeded, has the status of a limited rate and lasts for hours.
    if response.status_code == 429 and response.json()["code"] != "rate_limited":
        return None
    seconds = float(response.headers.get("Retry-After", attempt))
    return seconds if seconds <= MAX_WAIT_SECONDS else None


def events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    """Yields the events of a stream; the data of each is one line of JSON."""
    for line in response.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def follow(stream: Iterator[dict[str, Any]]) -> dict[str, Any]:
    """Prints what happens, and returns the last event: it is the whole answer."""
    for event in stream:
        match event["type"]:
            case "chat.delta":
                print(event["text"], end="", flush=True)
            case "chat.tool_call":
                print(f"[{event['name']} {event['arguments']}]")
            case "chat.error":
                raise GatewayError(event)
            case "chat.completed":
                print()
                return event
    raise ConnectionError("The stream ended without chat.completed.")


def save(client: httpx.Client, medium: dict[str, Any]) -> Path:
    """Downloads a medium into a new temporary folder."""
    # Leads to the bytes for as long as the medium exists; the link in the answer expires.
    response = client.get(f"/media/{medium['id']}", follow_redirects=True)
    response.raise_for_status()
    extension = mimetypes.guess_extension(medium["content_type"]) or ""
    path = Path(tempfile.mkdtemp(), medium["id"] + extension)
    path.write_bytes(response.content)
    return path


if __name__ == "__main__":
    try:
        main(" ".join(sys.argv[1:]) or "What is the server time?")
    except GatewayError as error:
        sys.exit(str(error))
