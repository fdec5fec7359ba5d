"""The documents' examples against a deployed app, as the certificate runs them."""

import os
import subprocess
import sys

from tests.conftest import KEY


def run(origin: str, *options: str, key: str = KEY) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.smoke.examples", origin, *options],
        env={"PATH": os.environ["PATH"], "SMOKE_API_KEY": key},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout.splitlines()


def test_examples_work_and_no_link_is_printed(app_origin: str) -> None:
    status, lines = run(app_origin)
    assert (status, [line.split()[0] for line in lines]) == (0, ["ok"] * 4)
    assert [line.split()[1] for line in lines] == [
        "/chat:",
        "/tools/generate_image:",
        "/tools/chat_completion:",
        "/chat:",
    ]
    assert "http" not in "".join(lines)


def test_example_of_pictures_can_be_left_out(app_origin: str) -> None:
    status, lines = run(app_origin, "--without-images")
    skipped = [line.split()[1] for line in lines if line.startswith("skipped")]
    assert (status, skipped) == (0, ["/tools/generate_image"])


def test_example_that_fails_is_a_failure(app_origin: str) -> None:
    status, lines = run(app_origin, key="another-key-that-nobody-knows")
    assert status == 1
    assert {line.split()[0] for line in lines} == {"FAILED"}
    assert "unauthorized" in lines[0]
