"""Modules of the page that need no browser, run by Node."""

import json
import shlex
import subprocess
from typing import Any

import pytest

from local.config import PROJECT
from tests.node import NODE

pytestmark = pytest.mark.any_python

PAGES = PROJECT / "shared" / "pages"


def run(script: str) -> Any:
    """Returns what a module prints as JSON; it may import the page's modules from ``PAGES``."""
    source = script.replace("PAGES", PAGES.as_uri())
    done = subprocess.run(
        [NODE, "--input-type=module", "--eval", source],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_event_stream_is_the_same_split_at_every_byte() -> None:
    found = run("""
        import { events } from "PAGES/sse.js";
        const text = [
          ": ping\\n\\n", "event: chat.delta\\r\\n",
          "data: {\\"text\\":\\"h\\u00e9\\u{1F600}\\"}\\r\\n\\r\\n", "data: a\\ndata:b\\n\\n",
        ].join("");
        const bytes = new TextEncoder().encode(text);
        const seen = new Set();
        for (let cut = 0; cut <= bytes.length; cut++) {
          const stream = new ReadableStream({
            start(controller) {
              controller.enqueue(bytes.slice(0, cut));
              controller.enqueue(bytes.slice(cut));
              controller.close();
            },
          });
          const got = [];
          for await (const event of events(stream)) got.push(event);
          seen.add(JSON.stringify(got));
        }
        console.log(JSON.stringify([...seen].map((each) => JSON.parse(each))));
    """)
    assert found == [
        [
            {"event": "chat.delta", "data": '{"text":"h\u00e9\U0001f600"}'},
            {"event": "", "data": "a\nb"},
        ]
    ]


def test_money_is_never_zero_where_nobody_knows_it() -> None:
    found = run("""
        import { money } from "PAGES/format.js";
        const sums = [null, undefined, 0, 0.00001, 0.0441, 12.5];
        console.log(JSON.stringify(sums.map((each) => money(each))));
    """)
    assert found == ["no price", "no price", "$0.00", "< $0.0001", "$0.0441", "$12.50"]


def test_calls_of_a_tool_are_quoted_for_each_language() -> None:
    found = run("""
        import { toolCalls } from "PAGES/snippets.js";
        const values = { prompt: "it's", deep: { yes: true, nothing: null, list: [1] } };
        console.log(JSON.stringify(toolCalls("http://localhost:7071", "generate_image", values)));
    """)
    assert """'{"prompt":"it'\\''s",""" in found["curl"]
    assert (
        'json={"prompt": "it\'s", "deep": {"yes": True, "nothing": None, "list": [1]}}'
        in (found["Python"])
    )
    assert 'JSON.stringify({"prompt":"it\'s",' in found["JavaScript"]
    curl = shlex.split(found["MCP"])
    assert json.loads(curl[curl.index("-d") + 1])["params"]["arguments"]["prompt"] == "it's"


def test_every_module_is_valid() -> None:
    for path in sorted(PAGES.glob("*.js")):
        done = subprocess.run(
            [NODE, "--check", path], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
