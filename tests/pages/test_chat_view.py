"""Chat in a browser."""

import re

import pytest
from playwright.async_api import Browser, expect

from tests.conftest import KEY, StandIn
from tests.pages.conftest import PLAIN_KEY, Visit, serve
from tests.pages.visitor import Visitor, visiting

pytestmark = pytest.mark.any_python


async def test_link_signs_in_and_leaves_no_key_in_the_address(visitor: Visitor) -> None:
    tab = visitor.tab
    assert KEY not in tab.url
    assert await tab.evaluate("history.length") <= 2
    assert not any(KEY in url for url in visitor.requests)
    await tab.reload()
    await expect(tab.get_by_role("textbox", name="Message")).to_be_visible()


async def test_answer_has_its_tools_its_picture_and_its_cost_now_and_later(
    visitor: Visitor,
) -> None:
    tab = visitor.tab
    await tab.get_by_role("button", name="Draw a lighthouse at night").click()
    answer = tab.get_by_role("article", name="Answer")
    await expect(answer.locator(".receipt")).to_contain_text(
        re.compile(r"gpt-6-luna2 rounds[\d,]+ in · \d+ out\$0\.\d{4}")
    )
    picture = answer.get_by_role("img", name="Draw a lighthouse at night")
    await expect(picture).to_have_js_property("complete", True)
    assert await picture.evaluate("each => each.naturalWidth") == 1024
    step = answer.locator("details", has_text="generate_image")
    await step.locator("summary").click()
    await expect(step).to_contain_text('"prompt": "Draw a lighthouse at night"')
    await expect(tab.locator("#account .meter")).to_contain_text(re.compile(r"\$0\.\d{4} today"))
    talks = tab.get_by_role("complementary", name="Conversations")
    await expect(talks.get_by_role("link", name="Draw a lighthouse at night")).to_be_visible()

    await tab.reload()
    await expect(answer.locator("details", has_text="generate_image")).to_be_visible()
    await expect(answer.get_by_role("img", name="Draw a lighthouse at night")).to_be_visible()
    await expect(answer).to_contain_text("The tool stored image/png")


async def test_conversations_can_be_searched_and_deleted(visitor: Visitor) -> None:
    tab = visitor.tab
    for text in ("Tell me about foxes", "Tell me about whales"):
        await visitor.show("chat")
        await visitor.ask(text)
        await expect(tab.locator(".receipt")).to_be_visible()
    talks = tab.get_by_role("complementary", name="Conversations")
    await expect(talks.get_by_role("link", name="foxes")).to_be_visible()
    await talks.get_by_role("searchbox").fill("WHALE")
    await expect(talks.get_by_role("link", name="foxes")).to_have_count(0)
    await talks.get_by_role("button", name="Delete Tell me about whales").click()
    dialog = tab.get_by_role("dialog", name="Delete this conversation?")
    await expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    await dialog.get_by_role("button", name="Delete").click()
    await expect(talks.get_by_role("link", name="foxes")).to_be_visible()
    await expect(talks.get_by_role("link", name="whales")).to_have_count(0)


async def test_answer_can_be_stopped_and_asked_for_again(
    visitor: Visitor, stand_in: StandIn
) -> None:
    tab = visitor.tab
    stand_in.fault(text="one two three four five six seven eight " * 50, chunk_delay=0.2)
    await visitor.ask("Count")
    answer = tab.get_by_role("article", name="Answer")
    await expect(answer).to_contain_text("one two")
    await expect(answer).to_have_attribute("aria-busy", "true")
    await tab.get_by_role("button", name="Stop").click()
    await expect(answer).to_contain_text("Stopped here.")
    await expect(tab.get_by_role("button", name="Send")).to_be_visible()
    await answer.get_by_role("button", name="Ask again").click()
    await expect(answer.locator(".receipt")).to_be_visible()
    await expect(answer).to_contain_text("You said: Count")


async def test_failure_of_the_provider_is_a_sentence_and_can_be_tried_again(
    visit: Visit, stand_in: StandIn
) -> None:
    async with visit(expected=("status of 502",)) as visitor:
        await visitor.sign_in(KEY)
        stand_in.fault(status=500, times=None)
        await visitor.ask("Hello")
        fault = visitor.tab.get_by_role("alert")
        await expect(fault).to_contain_text("provider_unavailable · request ")
        stand_in.reset()
        await fault.get_by_role("button", name="Ask again").click()
        await expect(visitor.tab.locator(".receipt")).to_be_visible()


async def test_model_and_tools_are_what_the_visitor_chose(
    visitor: Visitor, stand_in: StandIn
) -> None:
    tab = visitor.tab
    await tab.get_by_role("combobox", name="Model").fill("gpt-6-terra")
    await tab.locator(".composer summary", has_text="All tools").click()
    await tab.get_by_role("button", name="None", exact=True).click()
    await tab.get_by_role("checkbox", name="server_time").check()
    await visitor.ask("What time is it?")
    await expect(tab.locator(".receipt")).to_contain_text("gpt-6-terra")
    body = next(body for body in stand_in.bodies() if body and "messages" in body)
    assert body["model"] == "gpt-6-terra"
    assert [tool["function"]["name"] for tool in body["tools"]] == ["server_time"]


_FILES = """
([target, kind]) => {
  const canvas = new OffscreenCanvas(8, 8);
  canvas.getContext("2d").fillRect(0, 0, 8, 8);
  return canvas.convertToBlob().then((blob) => {
    const data = new DataTransfer();
    data.items.add(new File([blob], "dot.png", { type: "image/png" }));
    const place = document.querySelector(target);
    place.dispatchEvent(kind === "drop"
      ? new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true })
      : new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
  });
}
"""


@pytest.mark.parametrize("kind", ["drop", "paste"])
async def test_dropped_and_pasted_pictures_are_stored_and_go_with_the_message(
    visitor: Visitor, stand_in: StandIn, kind: str
) -> None:
    tab = visitor.tab
    await tab.evaluate(_FILES, [".composer textarea", kind])
    chip = tab.locator(".chip", has_text="dot.png")
    await expect(chip).to_be_visible()
    await expect(chip.get_by_role("progressbar")).to_have_count(0)
    await visitor.ask("What is in this picture?")
    await expect(tab.locator(".receipt")).to_be_visible()
    await expect(chip).to_have_count(0)
    asked = [body for body in stand_in.bodies() if body and "messages" in body][-1]
    kinds = [part["type"] for part in asked["messages"][-1]["content"]]
    assert kinds[0] == "text"
    assert "image_url" in kinds
    await tab.reload()
    await expect(tab.locator(".you")).to_contain_text("Picture")
    await visitor.show("media")
    await expect(tab.get_by_role("article")).to_have_count(1)


async def test_file_of_another_kind_is_refused_at_once(visitor: Visitor) -> None:
    tab = visitor.tab
    await tab.locator(".composer input[type=file]").set_input_files(
        {"name": "run.exe", "mimeType": "application/x-msdownload", "buffer": b"MZ"}
    )
    await expect(tab.get_by_role("alert")).to_contain_text("only pictures, audio, video and PDF")
    assert not any(url.endswith("/media") for url in visitor.requests)


async def test_key_that_ends_is_asked_for_again_and_the_draft_stays(visit: Visit) -> None:
    async with visit(expected=("status of 401",)) as visitor:
        await visitor.sign_in(KEY)
        tab = visitor.tab
        await tab.get_by_role("textbox", name="Message").fill("A draft")
        # The key of this tab is another one from now on, as if it had been rotated.
        await tab.evaluate(
            f"import('{await visitor.module('session')}').then((each) => each.keep('no-longer-right'))"
        )
        await tab.keyboard.press("Enter")
        dialog = tab.get_by_role("dialog", name="Sign in again")
        await dialog.get_by_label("API key").fill("wrong")
        await dialog.get_by_role("button", name="Sign in").click()
        alert = dialog.get_by_role("alert")
        await expect(alert).to_contain_text("This key is not known here, or has expired.")
        await expect(alert).to_contain_text("unauthorized")
        await dialog.get_by_label("API key").fill(KEY)
        await dialog.get_by_role("button", name="Sign in").click()
        await expect(dialog).to_have_count(0)
        await expect(tab.locator(".receipt")).to_be_visible()
        await expect(tab.get_by_role("article", name="Answer")).to_contain_text("You said: A draft")


async def test_view_without_its_scope_says_which_one_is_missing(visit: Visit) -> None:
    async with visit() as visitor:
        await visitor.sign_in(PLAIN_KEY)
        for view, scope in (("tools", "tools"), ("connections", "connections"), ("keys", "admin")):
            await visitor.show(view)
            await expect(visitor.tab.get_by_role("main")).to_contain_text(
                f"This key has chat, not {scope}."
            )
        await expect(visitor.tab.get_by_role("link", name="Keys")).to_have_count(0)


async def test_who_speaks_for_a_user_is_told_so_until_it_ends(
    visitor: Visitor, stand_in: StandIn
) -> None:
    tab = visitor.tab
    await visitor.ask("As myself")
    await expect(tab.locator(".receipt")).to_be_visible()
    await tab.locator("#account summary").click()
    await tab.get_by_role("button", name="Speak for…").click()
    await tab.get_by_role("textbox", name="User").fill("ann@example.com")
    await tab.get_by_role("button", name="Speak for this user").click()
    await expect(tab.locator("#band")).to_contain_text("You speak for ann@example.com.")
    await expect(tab.locator(".talks")).to_contain_text("No conversations yet.")
    await tab.locator("#band").get_by_role("button", name="End").click()
    await expect(tab.locator(".talks").get_by_role("link", name="As myself")).to_be_visible()
    await expect(tab.locator("#band")).to_be_hidden()


async def test_stand_in_says_that_nothing_is_charged(
    browser: Browser, page_environment: dict[str, str]
) -> None:
    with serve(page_environment | {"OPENAI_API_KEY": "stand-in"}) as origin:
        async with visiting(browser, origin) as visitor:
            await visitor.sign_in(KEY)
            note = visitor.tab.get_by_role("form", name="Ask")
            await expect(note).to_contain_text("Costs are simulated: nothing is charged.")
