"""Tools, Media, Connections, Usage, Set up and Keys in a browser."""

import csv
import io
import re
from collections.abc import Iterator

import httpx2
import pytest
from playwright.async_api import Locator, expect

from tests.conftest import AUTH, KEY, StandIn
from tests.connections import foreign
from tests.pages.conftest import Visit
from tests.pages.visitor import Visitor

pytestmark = pytest.mark.any_python


@pytest.fixture(scope="module")
def foreign_server() -> Iterator[str]:
    """URL of an MCP server that is not ours."""
    with foreign.running("sdk2", "http") as url:
        yield url


def call(visitor: Visitor, path: str, body: object) -> None:
    """Does with the API what the test needs to find on the page."""
    response = httpx2.post(f"{visitor.origin}{path}", json=body, headers=AUTH, timeout=60)
    response.raise_for_status()


def main(visitor: Visitor) -> Locator:
    return visitor.tab.get_by_role("main")


async def test_tool_is_called_by_its_form_and_its_call_is_shown_in_four_languages(
    visitor: Visitor,
) -> None:
    tab = visitor.tab
    await visitor.show("tools/generate_image")
    await tab.get_by_label("prompt *").fill("It's a fox")
    code = tab.locator(".codeblock pre")
    await expect(code).to_contain_text(f"curl -s {visitor.origin}/tools/generate_image")
    for language, part in (
        ("Python", 'json={"prompt": "It\'s a fox"}'),
        ("JavaScript", 'JSON.stringify({"prompt":"It\'s a fox"})'),
        ("MCP", '"method":"tools/call","params":{"name":"generate_image"'),
    ):
        await tab.get_by_role("button", name=language, exact=True).click()
        await expect(code).to_contain_text(part)
    await tab.get_by_role("button", name="Copy", exact=True).click()
    assert '"name":"generate_image"' in await tab.evaluate("navigator.clipboard.readText()")
    await tab.get_by_text("More (6)").click()
    await tab.get_by_role("button", name="opaque").click()
    await tab.get_by_label("n", exact=True).fill("2")
    await tab.get_by_role("button", name="Run · paid").click()
    await expect(tab.locator(".result article")).to_have_count(2)
    await expect(tab.locator(".result .receipt")).to_contain_text(re.compile(r"\$0\.\d{4}"))


async def test_example_of_a_form_that_nobody_filled_in_has_what_is_required(
    visitor: Visitor,
) -> None:
    code = visitor.tab.locator(".codeblock pre")
    for tool, body in (
        ("generate_image", '{"prompt":"An example"}'),
        ("edit_image", '{"prompt":"An example","images":["ID"]}'),
        ("transcribe_audio", '{"media_id":"ID"}'),
        ("list_tasks", "{}"),
    ):
        await visitor.show(f"tools/{tool}")
        await expect(code).to_contain_text(f"-d '{body}'")


async def test_complaint_about_an_argument_stands_at_its_field(visit: Visit) -> None:
    async with visit(expected=("status of 422",)) as visitor:
        await visitor.sign_in(KEY, "tools/generate_image")
        tab = visitor.tab
        await tab.get_by_label("prompt *").fill("A fox")
        await tab.get_by_text("More (6)").click()
        size = tab.get_by_label("size")
        await size.fill("huge")
        await tab.get_by_role("button", name="Run · paid").click()
        await expect(size).to_have_attribute("aria-invalid", "true")
        await expect(size).to_be_focused()
        await expect(tab.get_by_role("alert")).to_contain_text("size")


async def test_medium_for_a_tool_is_picked_from_those_that_are_there(visitor: Visitor) -> None:
    tab = visitor.tab
    call(visitor, "/tools/generate_image", {"prompt": "A fox"})
    await visitor.show("tools/edit_image")
    await tab.get_by_label("prompt *").fill("Make it blue")
    await tab.get_by_role("button", name="Choose…").first.click()
    await (
        tab.get_by_role("dialog", name="Choose a medium")
        .get_by_role("button", name="A fox")
        .click()
    )
    await tab.get_by_role("button", name="Run · paid").click()
    await expect(tab.locator(".result article")).to_have_count(1)


async def test_video_is_confirmed_first_and_watched_in_media(visitor: Visitor) -> None:
    tab = visitor.tab
    await visitor.show("tools/generate_video")
    await tab.get_by_label("prompt *").fill("Waves")
    await tab.get_by_role("button", name="Run · paid").click()
    await tab.get_by_role("dialog").get_by_role("button", name="Run · paid").click()
    await expect(tab.get_by_role("article", name="Video job")).to_be_visible()
    await tab.get_by_role("link", name="Watch it in Media").click()
    await expect(tab.get_by_role("article")).to_contain_text("Waves")


async def test_gallery_filters_shows_and_deletes(visitor: Visitor) -> None:
    tab = visitor.tab
    await visitor.show("media")
    await expect(main(visitor)).to_contain_text("No media yet.")
    for prompt in ("A fox", "A whale"):
        call(visitor, "/tools/generate_image", {"prompt": prompt})
    call(visitor, "/tools/synthesize_speech", {"text": "Good morning"})
    await visitor.show("usage")
    await visitor.show("media")
    cards = tab.get_by_role("article")
    await expect(cards).to_have_count(3)
    await expect(tab.get_by_role("article", name="A whale")).to_contain_text("gpt-image-2.5-flare")
    await tab.get_by_role("searchbox", name="Search loaded prompts").fill("fox")
    await expect(cards.filter(visible=True)).to_have_count(1)
    await tab.get_by_role("link", name="Audio").click()
    await expect(cards).to_have_count(1)
    await expect(cards.locator("audio")).to_have_js_property("preload", "none")
    await tab.get_by_role("link", name="Pictures").click()
    await tab.get_by_text("A fox", exact=True).click()
    await expect(tab.get_by_role("heading", name="Medium")).to_be_visible()
    await expect(main(visitor)).to_contain_text(re.compile("1024 . 1024"))
    await tab.get_by_role("button", name="Delete A fox").click()
    await tab.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(tab.get_by_role("heading", name="Media", exact=True)).to_be_visible()
    await expect(tab.get_by_role("article", name="A fox")).to_have_count(0)


async def test_connection_is_added_tried_and_ended(visitor: Visitor, foreign_server: str) -> None:
    tab = visitor.tab
    await visitor.show("connections")
    await tab.get_by_label("Address of the MCP server").fill(foreign_server)
    await tab.get_by_label("Name").fill("docs")
    await tab.get_by_role("button", name="Connect").click()
    await expect(tab.get_by_role("heading", name="docs")).to_be_visible()
    await expect(tab.locator(".attempt")).to_contain_text(re.compile("3 tools.*ok"))
    await tab.locator("summary", has_text="add").click()
    await tab.get_by_label("a *").fill("2")
    await tab.get_by_label("b *").fill("3")
    await tab.get_by_role("button", name="Run add").click()
    await expect(tab.locator(".result pre")).to_contain_text('"status": "success"')
    await tab.locator("summary", has_text="fail").click()
    await tab.get_by_role("button", name="Run fail").click()
    await expect(tab.locator(".result .step.bad")).to_contain_text("failed")
    await tab.get_by_role("button", name="Resources").click()
    await tab.locator("summary", has_text="note://one").click()
    await tab.get_by_role("button", name="Read note://one").click()
    await expect(tab.locator(".result pre")).to_contain_text("noted")
    await tab.get_by_role("button", name="Prompts").click()
    await tab.locator("summary", has_text="review").click()
    await tab.get_by_label("language *").fill("Rust")
    await tab.get_by_role("button", name="Get review").click()
    await expect(tab.locator(".result pre")).to_contain_text("Review this Rust")
    await tab.get_by_role("button", name="End").click()
    await tab.get_by_role("dialog").get_by_role("button", name="End").click()
    await expect(main(visitor)).to_contain_text("No connections yet.")


async def test_connection_that_fails_says_why(visit: Visit, unused_port: int) -> None:
    async with visit(expected=("status of 502",)) as visitor:
        await visitor.sign_in(KEY, "connections/new")
        await visitor.tab.get_by_label("Address").fill(f"http://127.0.0.1:{unused_port}/mcp")
        await visitor.tab.get_by_role("button", name="Connect").click()
        await expect(visitor.tab.locator(".step.bad")).to_contain_text("failed")
        await expect(visitor.tab.get_by_role("alert")).to_contain_text("cannot be reached")


async def test_usage_is_the_same_in_figures_chart_table_and_file(visitor: Visitor) -> None:
    tab = visitor.tab
    call(visitor, "/tools/generate_image", {"prompt": "A fox"})
    await visitor.show("usage")
    spent = tab.locator(".limits .cost").first
    cost = await spent.inner_text()
    assert re.fullmatch(r"\$0\.\d{4}", cost)
    bars = tab.get_by_role("group", name=re.compile("Spending by day in US dollars")).get_by_role(
        "img"
    )
    await bars.last.focus()
    tip = tab.locator(".tip").first
    await expect(tip).to_contain_text(re.compile(rf"{re.escape(cost)}, 1 request$"))
    await tab.keyboard.press("Home")
    await expect(bars.first).to_be_focused()
    panel = tab.locator(".panel", has_text="Spending by day")
    await panel.get_by_role("button", name="Table").click()
    await expect(panel.get_by_role("cell", name=cost)).to_be_visible()
    await tab.get_by_role("link", name="Tool", exact=True).click()
    await expect(tab.get_by_role("region", name="Spending by tool")).to_contain_text(
        "generate_image"
    )
    async with tab.expect_download() as started:
        await tab.get_by_role("button", name="Download CSV by tool").click()
    path = await (await started.value).path()
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert [(row["tool"], f"${float(row['cost_usd']):.4f}") for row in rows] == [
        ("generate_image", cost)
    ]
    await tab.get_by_role("link", name="All calls").click()
    await expect(tab.get_by_role("region", name="Calls")).to_contain_text("generate_image")


async def test_configuration_has_the_address_and_can_be_read_without_a_key(visit: Visit) -> None:
    async with visit() as visitor:
        tab = visitor.tab
        await tab.goto(f"{visitor.origin}/#/setup")
        clients = tab.get_by_role("navigation", name="Clients").get_by_role("link")
        await expect(clients).to_have_count(8)
        assert await clients.all_inner_texts() == [
            "VS Code", "Claude Code", "Claude Desktop", "Cursor", "Codex",
            "OpenAI SDK, Python", "OpenAI SDK, TypeScript", "curl",
        ]  # fmt: skip
        for client in await clients.all():
            await client.click()
            await expect(tab.locator(".codeblock pre")).to_contain_text(visitor.origin)
        await expect(tab.get_by_role("button", name="Test", exact=True)).to_be_disabled()
        await tab.get_by_role("link", name="Usage").click()
        await expect(tab.get_by_role("heading", name="Sign in to this gateway")).to_be_visible()
        assert not any("/usage" in url.partition("#")[0] for url in visitor.requests)


async def test_address_is_tested_from_the_browser(visitor: Visitor, stand_in: StandIn) -> None:
    tab = visitor.tab
    await visitor.show("setup")
    await tab.get_by_role("button", name="Test", exact=True).click()
    for path in ("GET /me", "POST /mcp initialize", "POST /mcp tools/list", "GET /v1/models"):
        await expect(tab.locator(".step.done", has_text=path)).to_contain_text("ok")
    paid = {request["path"] for request in stand_in.requests()} - {"/v1/models"}
    assert paid == set()


async def test_key_is_made_shown_once_used_changed_rotated_and_revoked(visit: Visit) -> None:
    async with visit() as visitor:
        await visitor.sign_in(KEY, "keys")
        tab = visitor.tab
        await tab.get_by_role("button", name="Make a key").first.click()
        dialog = tab.get_by_role("dialog", name="Make a key")
        await dialog.get_by_label("Name of the person").fill("maya")
        await dialog.get_by_label("Dollars a day").fill("2.5")
        await dialog.get_by_role("checkbox", name="connections").uncheck()
        await dialog.get_by_role("button", name="Make the key").click()
        fresh = tab.locator(".fresh")
        first = await fresh.locator("pre").inner_text()
        card = tab.get_by_role("article", name="Key maya")
        await expect(card).to_be_visible()
        await expect(fresh).to_be_visible()
        await fresh.get_by_role("button", name="I have saved it").click()
        await expect(card).to_contain_text("chat, tools, openai")
        await expect(card).to_contain_text("Dollars a day: 2.5")

        await card.get_by_role("button", name="Change").click()
        dialog = tab.get_by_role("dialog", name="Change the key maya")
        await expect(dialog.get_by_label("Dollars a day")).to_have_value("2.5")
        await dialog.get_by_label("Models").fill("gpt-6-*")
        await dialog.get_by_role("button", name="Save").click()
        await expect(card).to_contain_text("gpt-6-*")

        await card.get_by_role("button", name="Rotate").click()
        await tab.get_by_role("dialog").get_by_role("button", name="Rotate").click()
        await expect(fresh.locator("pre")).not_to_have_text(first)
        second = await fresh.locator("pre").inner_text()
        for key in (first, second):
            me = httpx2.get(
                f"{visitor.origin}/me", headers={"Authorization": f"Bearer {key}"}, timeout=60
            )
            assert me.json()["principal"] == "maya"

        await card.get_by_role("button", name="Revoke the key maya").click()
        dialog = tab.get_by_role("dialog", name="Revoke the key maya?")
        await expect(dialog.get_by_role("button", name="Revoke")).to_be_disabled()
        await dialog.get_by_role("textbox").fill("maya")
        await dialog.get_by_role("button", name="Revoke").click()
        await expect(card).to_have_count(0)


async def test_dialog_tells_what_a_name_of_a_key_may_have_and_keeps_its_buttons_in_view(
    visit: Visit,
) -> None:
    async with visit(size="phone") as visitor:
        await visitor.sign_in(KEY, "keys")
        await visitor.tab.get_by_role("button", name="Make a key").first.click()
        dialog = visitor.tab.get_by_role("dialog", name="Make a key")
        name = dialog.get_by_label("Name of the person")
        await expect(name).to_have_accessible_description("Letters, digits, . _ @ - and no spaces")
        save = dialog.get_by_role("button", name="Make the key")
        await expect(save).to_be_in_viewport(ratio=1)
        for wrong in ("maya lin", "maya/lin"):
            await name.fill(wrong)
            await save.click()
            await expect(name).to_be_focused()
            assert await name.evaluate("field => field.validity.patternMismatch")
        await name.fill("maya.lin_2@example-1.com")
        await save.click()
        await expect(visitor.tab.locator(".fresh")).to_be_visible()


async def test_key_of_local_work_is_told_where_it_is(visitor: Visitor) -> None:
    await visitor.show("keys")
    await expect(main(visitor)).to_contain_text(".local/key")


async def test_limit_that_is_spent_says_when_it_resets(visit: Visit) -> None:
    async with visit(expected=("status of 429",)) as visitor:
        made = httpx2.post(
            f"{visitor.origin}/keys",
            json={"name": "maya", "limits": {"requests_per_day": 1}},
            headers=AUTH,
            timeout=60,
        ).json()
        await visitor.sign_in(made["key"])
        await visitor.ask("One")
        await expect(visitor.tab.locator(".receipt")).to_be_visible()
        await visitor.ask("Two")
        await expect(visitor.tab.locator(".quota")).to_contain_text("Again from")
        await visitor.show("usage")
        limits = visitor.tab.get_by_role("region", name="Limits")
        await expect(limits).to_contain_text("0 left of 1")
