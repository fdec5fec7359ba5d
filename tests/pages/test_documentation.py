"""`/docs` and `/redoc` in a browser."""

import pytest
from playwright.async_api import expect

from tests.conftest import KEY
from tests.pages.conftest import Visit

pytestmark = pytest.mark.any_python


async def test_operation_is_tried_with_the_key_of_the_authorize_button(visit: Visit) -> None:
    async with visit() as visitor:
        tab = visitor.tab
        await tab.goto(f"{visitor.origin}/docs")
        await tab.get_by_role("button", name="Authorize").first.click()
        form = tab.locator(".auth-container").first
        await form.locator("input").fill(KEY)
        await (
            form.get_by_role("button", name="Apply credentials")
            .or_(form.get_by_role("button", name="Authorize"))
            .first.click()
        )
        await tab.locator(".btn-done").first.click()
        operation = tab.locator(".opblock", has=tab.locator('[data-path="/me"]'))
        await operation.locator(".opblock-summary-control").click()
        await operation.get_by_role("button", name="Execute").click()
        await expect(operation.locator(".live-responses-table .response").first).to_contain_text(
            '"principal": "admin"'
        )


async def test_reference_shows_every_operation(visit: Visit) -> None:
    async with visit() as visitor:
        await visitor.tab.goto(f"{visitor.origin}/redoc")
        await expect(
            visitor.tab.get_by_role("heading", name="OpenAI MCP Functions").first
        ).to_be_visible()
        await expect(visitor.tab.get_by_text("/v1/chat/completions").first).to_be_attached()
