"""The page out of the real worker, in a real browser."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, async_playwright, expect

from tests.conftest import KEY
from tests.pages.chromium import find_chromium
from tests.pages.visitor import visiting
from tests.worker.process import WorkerProcess


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    path, environment = find_chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=path, env={**environment}, args=["--no-sandbox"]
        )
        yield browser
        await browser.close()


@pytest.mark.usefixtures("stand_in")
async def test_visitor_chats_runs_a_tool_and_sees_it_in_usage(
    browser: Browser, worker: WorkerProcess
) -> None:
    async with visiting(browser, worker.origin) as visitor:
        await visitor.sign_in(KEY)
        # The list of conversations may have this question, too.
        prompts = visitor.tab.locator(".prompts")
        await prompts.get_by_role("button", name="What is the current server time?").click()
        answer = visitor.tab.get_by_role("article", name="Answer")
        await expect(answer.locator(".receipt")).to_be_visible(timeout=60_000)
        await expect(answer.locator("details", has_text="server_time")).to_be_visible()
        await visitor.show("tools/server_time")
        await visitor.tab.get_by_role("button", name="Run").click()
        await expect(visitor.tab.locator(".result pre")).to_contain_text("MCP Server Time")
        await visitor.show("usage")
        await expect(visitor.tab.get_by_role("region", name="Calls")).to_contain_text("gpt-6-luna")
