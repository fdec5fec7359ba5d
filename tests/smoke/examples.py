"""Runs the documents' examples against a deployed app: ``python -m tests.smoke.examples URL``.

It needs Python 3.11, ``bash`` and ``curl``, and a key with the scopes chat and tools in
``SMOKE_API_KEY``. A line for each example says what came back, without links and texts.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent
DOCUMENTS = ("README.md", "docs/api.md")
LOCAL = "http://localhost:7071"


def examples(text: str) -> list[str]:
    """Returns the ``curl`` commands that stand in the shell blocks of a Markdown text."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [
        command
        for block in blocks
        for command in re.findall(r"^curl (?:.*\\\n)*.*$", block, re.MULTILINE)
    ]


def try_example(command: str, base_url: str, key: str) -> tuple[bool, str]:
    """Runs a command against an app, and returns whether it worked and what to say of it."""
    done = subprocess.run(
        ["bash", "-c", command.replace(LOCAL, base_url)],
        env={"PATH": os.environ["PATH"], "GATEWAY_KEY": key},
        capture_output=True,
        text=True,
        check=False,
    )
    # Of a stream, the last event holds the whole answer.
    try:
        answer = json.loads(done.stdout.rpartition("data: ")[2])
    except ValueError:
        return False, f"no JSON, exit status {done.returncode}"
    if "detail" in answer or "error" in answer:
        return False, f"{answer.get('code')}: {str(answer.get('detail') or answer['error'])[:300]}"
    return True, ", ".join(sorted(answer))


def main() -> int:
    """Runs the command line and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.smoke.examples", description=__doc__.splitlines()[0]
    )
    parser.add_argument("base_url", help="where the app answers")
    parser.add_argument("--without-images", action="store_true", help="leave out pictures")
    options = parser.parse_args()
    key = os.environ.get("SMOKE_API_KEY", "")
    if not key:
        parser.error("set SMOKE_API_KEY to a key with the scopes chat and tools")
    texts = "\n".join((PROJECT / name).read_text() for name in DOCUMENTS)
    # Those that manage keys need an administrator's.
    commands = [command for command in examples(texts) if "$GATEWAY_KEY" in command]
    if not commands:
        sys.exit("No example of the documents has its key in $GATEWAY_KEY.")
    failed = False
    for command in commands:
        path = command.partition(LOCAL)[2].split()[0]
        if options.without_images and path.endswith("_image"):
            sys.stdout.write(f"skipped  {path} (--without-images)\n")
            continue
        works, line = try_example(command, options.base_url.rstrip("/"), key)
        failed = failed or not works
        sys.stdout.write(f"{'ok      ' if works else 'FAILED  '} {path}: {line}\n")
        sys.stdout.flush()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
