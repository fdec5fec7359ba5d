"""What the page promises everywhere: it can be used by everybody, and nothing that it shows can run."""

import logging
import re

import httpx2
import pytest
from playwright.async_api import Browser, Page, expect

from tests.conftest import AUTH, KEY, StandIn
from tests.pages.conftest import Visit, serve
from tests.pages.visitor import Theme, visiting
from tests.storage import azurite as azurite_process

pytestmark = pytest.mark.any_python

VIEWS = (
    "chat",
    "tools/edit_image",
    "media",
    "connections",
    "usage",
    "usage/calls",
    "setup/codex",
    "keys",
)


def fill(origin: str) -> None:
    """Gives every view something to show."""
    with httpx2.Client(base_url=origin, headers=AUTH, timeout=60) as client:
        for path, body in (
            ("/chat", {"message": "Draw a fox"}),
            ("/tools/synthesize_speech", {"text": "Good morning"}),
            ("/tools/generate_video", {"prompt": "Waves"}),
            ("/keys", {"name": "maya", "limits": {"usd_per_day": 2}}),
        ):
            client.post(path, json=body).raise_for_status()


@pytest.mark.parametrize(
    ("size", "theme"), [("desktop", "light"), ("desktop", "dark"), ("phone", "light")]
)
async def test_axe_finds_nothing_in_any_view(visit: Visit, size: str, theme: Theme) -> None:
    async with visit(size=size, theme=theme) as visitor:
        fill(visitor.origin)
        await visitor.tab.goto(visitor.origin)
        await expect(visitor.tab.get_by_label("API key")).to_be_visible()
        found = {"sign-in": await visitor.violations()}
        await visitor.sign_in(KEY)
        for view in VIEWS:
            await visitor.show(view)
            found[view] = await visitor.violations()
        await visitor.tab.get_by_role("button", name="Make a key").first.click()
        found["dialog"] = await visitor.violations()
        assert {view: each for view, each in found.items() if each} == {}


async def test_nothing_is_wider_than_a_narrow_window(visit: Visit) -> None:
    async with visit(size="narrow") as visitor:
        fill(visitor.origin)
        await visitor.sign_in(KEY)
        wider = {}
        for view in VIEWS:
            await visitor.show(view)
            wider[view] = await visitor.sideways()
        assert {view: pixels for view, pixels in wider.items() if pixels > 0} == {}


@pytest.mark.parametrize("size", ["narrow", "phone"])
async def test_name_and_account_stand_in_one_line_on_a_phone(visit: Visit, size: str) -> None:
    async with visit(size=size) as visitor:
        await visitor.sign_in(KEY)
        await expect(visitor.tab.locator(".meter")).to_be_visible()
        brand = visitor.tab.get_by_role("link", name="OpenAI MCP Functions")
        boxes = [
            await each.bounding_box()
            for each in (brand, visitor.tab.locator("#account"), visitor.tab.locator(".tabs"))
        ]
        name, account, tabs = (box for box in boxes if box is not None)
        assert name["y"] == account["y"]
        assert tabs["y"] == max(each["y"] + each["height"] for each in (name, account))
        # As high as what is to be touched.
        assert tabs["y"] <= 48


async def test_tab_of_the_view_is_in_sight_on_a_phone(visit: Visit) -> None:
    async with visit(size="phone") as visitor:
        await visitor.sign_in(KEY)
        tabs = visitor.tab.get_by_role("navigation", name="Main")
        for view, name in (("keys", "Keys"), ("chat", "Chat"), ("usage", "Usage")):
            await visitor.show(view)
            tab = tabs.get_by_role("link", name=name)
            await expect(tab).to_have_attribute("aria-current", "page")
            await expect(tab).to_be_in_viewport(ratio=1)


async def test_tabs_stay_where_they_are_from_view_to_view(visit: Visit) -> None:
    async with visit() as visitor:
        await visitor.sign_in(KEY)
        last = visitor.tab.get_by_role("navigation", name="Main").get_by_role("link").last
        places = []
        for view in ("chat", "connections"):
            await visitor.show(view)
            await expect(visitor.tab.locator(".tabs [aria-current]")).to_have_attribute(
                "href", f"#/{view}"
            )
            places.append(await last.bounding_box())
        assert places[0] == places[1]


async def test_page_can_be_used_by_the_keyboard_alone(visit: Visit) -> None:
    async with visit() as visitor:
        tab = visitor.tab
        await visitor.sign_in(KEY)
        await tab.reload()
        await expect(tab.get_by_role("textbox", name="Message")).to_be_focused()
        first = tab.locator("a[href], button, input, textarea, select, summary").first
        await expect(first).to_have_text("Skip to content")
        await first.focus()
        await expect(first).to_be_in_viewport()
        await visitor.show("media")
        await expect(tab.get_by_role("heading", name="Media")).to_be_focused()
        assert await tab.title() == "Media · OpenAI MCP Functions"


async def test_files_are_asked_for_before_they_are_needed_and_once(
    visit: Visit, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "shared")

    def asked() -> int:
        return caplog.text.count('"route": "/pages/{file:path}"')

    async with visit() as visitor:
        tab = visitor.tab
        await tab.goto(visitor.origin)
        await tab.get_by_label("API key").fill(KEY)
        await tab.wait_for_load_state("networkidle")
        assert 0 < asked() <= 26, visitor.requests
        caplog.clear()
        await tab.keyboard.press("Enter")
        await expect(tab.get_by_role("textbox", name="Message")).to_be_visible()
        await tab.goto("about:blank")
        await tab.goto(visitor.origin)
        await expect(tab.get_by_role("textbox", name="Message")).to_be_visible()
        assert asked() == 0, visitor.requests


async def test_policy_stops_injected_scripts_and_markup(visit: Visit) -> None:
    expected = ("Content Security Policy", "TrustedHTML", "Trusted")
    async with visit(expected=expected) as visitor:
        await visitor.sign_in(KEY)
        stopped = await visitor.tab.evaluate("""async () => {
          const stopped = new Promise((resolve) => {
            const note = (event) => resolve(event.effectiveDirective);
            addEventListener("securitypolicyviolation", note, { once: true });
          });
          const script = document.createElement("script");
          let refused = "";
          try { script.text = "window.ran = 1"; } catch (error) { refused = error.name; }
          script.append(document.createTextNode("window.ran = 1"));
          document.body.append(script);
          let markup = "";
          try { document.body.innerHTML = "<b>x</b>"; } catch (error) { markup = error.name; }
          return [await stopped, markup, refused, window.ran ?? null];
        }""")
        assert stopped[1:] == ["TypeError", "TypeError", None]
        assert stopped[0] in ("script-src-elem", "require-trusted-types-for")


HOSTILE = """# Hello <script>window.ran = 1</script>

<img src=x onerror="window.ran = 2"> ![beacon](https://evil.example/beacon.png)

[click](javascript:window.ran=3) [data](data:text/html,<script>window.ran=4</script>) [vb](vbscript:x)
[bank.example](https://evil.example/login) <svg onload="window.ran = 5"></svg>

```html
<script>window.ran = 6</script>
```

| a | b |
|---|---|
| <iframe srcdoc="<script>parent.ran = 7</script>"></iframe> | `<b>` |
"""


async def test_hostile_markdown_is_text_and_asks_no_other_host(
    visit: Visit, stand_in: StandIn
) -> None:
    async with visit() as visitor:
        await visitor.sign_in(KEY)
        stand_in.fault(text=HOSTILE)
        await visitor.ask("Go")
        answer = visitor.tab.get_by_role("article", name="Answer")
        await expect(answer.locator(".receipt")).to_be_visible()
        await expect(answer).to_contain_text('<img src=x onerror="window.ran = 2">')
        await expect(answer.locator("img, svg[onload], iframe, script")).to_have_count(0)
        hrefs = await answer.locator("a").evaluate_all("all => all.map((each) => each.href)")
        assert {href.partition(":")[0] for href in hrefs} == {"https"}
        link = answer.get_by_role("link", name=re.compile("bank.example"))
        await expect(link).to_have_text("bank.example (evil.example)")
        await expect(link).to_have_attribute("rel", "noopener noreferrer nofollow")
        await still_works(visitor.tab)


async def still_works(tab: Page) -> None:
    assert await tab.evaluate("window.ran ?? null") is None
    await tab.get_by_role("textbox", name="Message").fill("Are you there?")
    await tab.keyboard.press("Enter")
    await expect(tab.get_by_role("article", name="Answer").last).to_contain_text(
        "You said: Are you there?"
    )


async def test_line_of_a_megabyte_leaves_the_page_usable(visit: Visit, stand_in: StandIn) -> None:
    async with visit() as visitor:
        await visitor.sign_in(KEY)
        stand_in.fault(text="[*_`" * 262_144)
        await visitor.ask("Go")
        answer = visitor.tab.get_by_role("article", name="Answer").first
        await expect(answer.locator(".receipt")).to_be_visible()
        await expect(answer.locator("details")).to_have_count(53)
        await still_works(visitor.tab)


async def test_long_result_of_a_tool_is_folded(visit: Visit, stand_in: StandIn) -> None:
    async with visit() as visitor:
        await visitor.sign_in(KEY)
        long = '{"title": "' + "<script>window.ran = 1</script>" * 6 + '"}'
        stand_in.fault(match={"path": "chat/"}, call_tools=["add_task"], tool_arguments=long)
        await visitor.ask("Go")
        answer = visitor.tab.get_by_role("article", name="Answer").first
        await expect(answer.locator(".receipt")).to_be_visible()
        await answer.locator("summary", has_text="add_task").click()
        await expect(answer.locator("pre").first).to_contain_text("<script>window.ran = 1</script>")
        # No tool of ours answers 200 kB: the browser is given such a result in the app's place.
        result = "x" * 200_000
        await visitor.tab.evaluate(
            """([path, result]) => import(path).then(({ toolStep }) => {
              const step = toolStep({ name: "long", arguments: {} });
              document.querySelector(".answer .trace").append(step.node);
              step.finish({ result, is_error: true, duration_ms: 1 });
            })""",
            [await visitor.module("trace"), result],
        )
        step = answer.locator("details", has_text="long").last
        block = step.locator("pre").last
        assert len(await block.inner_text()) < 9000
        await block.get_by_role("button", name="Show all 200,000 characters").click()
        assert len(await block.inner_text()) == len(result)
        await still_works(visitor.tab)


SVG = (
    b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9" onload="window.ran=1">'
    b"<script>window.ran = 1; parent.ran = 1; fetch('https://evil.example')</script></svg>"
)


async def test_svg_with_a_script_runs_nowhere(visit: Visit, stand_in: StandIn) -> None:
    async with visit(expected=("Content Security Policy", "sandboxed", "status of 4")) as visitor:
        await visitor.sign_in(KEY)
        response = httpx2.post(
            f"{visitor.origin}/media",
            content=SVG,
            headers={**AUTH, "Content-Type": "image/svg+xml"},
            timeout=60,
        )
        await visitor.show("media")
        if response.is_success:
            url = response.json()["url"]
            assert await visitor.tab.evaluate("window.ran ?? null") is None
            opened = await visitor.tab.context.new_page()
            await opened.goto(url)
            assert await opened.evaluate("window.ran ?? null") is None
        else:
            assert response.status_code in (415, 422), response.text
        await visitor.show("chat")
        await still_works(visitor.tab)


async def test_media_of_another_origin_are_shown_and_no_other_host_is_asked(
    browser: Browser, page_environment: dict[str, str], azurite: str
) -> None:
    settings = page_environment | azurite_process.blob_settings(azurite)
    storage = re.findall(r"BlobEndpoint=(http://[^/]+)", azurite)[0]
    with serve(settings) as origin:
        async with visiting(browser, origin, others=(storage,)) as visitor:
            await visitor.sign_in(KEY)
            await visitor.ask("Draw a lighthouse at night")
            answer = visitor.tab.get_by_role("article", name="Answer")
            await expect(answer.locator(".receipt")).to_be_visible()
            picture = answer.get_by_role("img", name="lighthouse")
            await picture.scroll_into_view_if_needed()
            await expect(picture).to_have_js_property("naturalWidth", 1024)
            assert any(url.startswith(storage) for url in visitor.requests)
