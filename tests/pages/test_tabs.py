"""What is done beside a tab: in another one, at a server that asks its users to sign in, elsewhere."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from urllib.parse import urlencode

import pytest
from playwright.async_api import expect

from tests.conftest import KEY
from tests.connections import foreign
from tests.connections.authority import Authority
from tests.connections.conftest import McpWorld
from tests.connections.world import Running
from tests.gate import Gate, happened
from tests.pages.conftest import Visit
from tests.pages.visitor import Visitor

pytestmark = pytest.mark.any_python


@pytest.fixture(scope="module")
def foreign_server() -> Iterator[str]:
    """URL of an MCP server that is not ours."""
    with foreign.running("sdk2", "http") as url:
        yield url


@pytest.fixture
def authority() -> Iterator[Authority]:
    """The authorization server of an MCP server, which lets in whoever has its latest token."""
    world, authority = McpWorld(), Authority()
    with world.running, Running(lambda: authority.app) as running:
        authority.origin, authority.server_url = running.origin, world.url
        metadata = f"{running.origin}/.well-known/oauth-protected-resource/mcp"
        world.gate.challenge = f'Bearer resource_metadata="{metadata}"'
        world.gate.current_token = lambda: authority.valid or "none yet"
        yield authority


@asynccontextmanager
async def two_tabs(visit: Visit, *expected: str) -> AsyncIterator[tuple[Visitor, Visitor]]:
    """Two tabs of one browser, each signed in."""
    async with visit(expected=expected) as first:
        await first.sign_in(KEY)
        second = Visitor(await first.tab.context.new_page(), first.origin, (), expected)
        second.watch()
        await second.sign_in(KEY)
        yield first, second
        assert second.problems == []


async def test_server_that_asks_to_sign_in_is_connected_with_the_characters_at_the_end_of_it(
    visit: Visit, authority: Authority
) -> None:
    async with visit(expected=("status of 4",)) as visitor:
        tab = visitor.tab
        await visitor.sign_in(KEY, "connections/new")
        await tab.get_by_label("Address of the MCP server").fill(authority.server_url)
        await tab.get_by_label("Name").fill("guarded")
        await tab.get_by_label("Credentials").select_option("oauth")
        await tab.get_by_role("button", name="Connect").click()
        link = tab.get_by_role("link", name="Sign in at the server")
        back = authority.agree(await link.get_attribute("href") or "")
        elsewhere = await tab.context.new_page()
        await elsewhere.goto(f"{visitor.origin}/mcp/oauth/callback?{urlencode(back)}")
        characters = await elsewhere.locator("code").inner_text()
        code = tab.get_by_label("2. The 8 characters")
        await code.fill("a" * len(characters))
        await tab.get_by_role("button", name="Confirm").click()
        await expect(tab.get_by_role("alert")).to_be_visible()
        await code.fill(f" {characters} ")
        await tab.get_by_role("button", name="Confirm").click()
        await expect(tab.get_by_role("heading", name="guarded")).to_be_visible()
        await expect(tab.locator(".attempt .step.done")).to_contain_text("tools")


async def test_message_to_a_conversation_that_another_tab_has_answered_waits_for_its_turn(
    visit: Visit, gate: Gate
) -> None:
    async with two_tabs(visit, "status of 409") as (first, second):
        await first.ask("Hello")
        await expect(first.tab.locator(".receipt")).to_have_count(1)
        address = await first.tab.evaluate("location.hash")
        await second.show(address.removeprefix("#/"))
        with gate.holding() as hold:
            await first.ask("What is slow?")
            assert await happened(hold.asked)
            await second.ask("What is quick?")
            waiting = second.tab.get_by_role("alert")
            await expect(waiting).to_contain_text("This conversation is being answered elsewhere.")
        await expect(first.tab.locator(".receipt")).to_have_count(2)
        # Without a click.
        await expect(second.tab.get_by_text("You said: What is quick?")).to_be_visible()
        await first.tab.reload()
        for said in ("What is slow?", "What is quick?"):
            await expect(first.tab.get_by_text(f"You said: {said}")).to_be_visible()


async def test_tab_that_signs_out_leaves_the_other_one_signed_in(visit: Visit) -> None:
    async with two_tabs(visit) as (first, second):
        await first.tab.locator("#account summary").click()
        await first.tab.get_by_role("button", name="Sign out").click()
        await expect(first.tab.get_by_label("API key")).to_be_visible()
        await second.ask("Hello")
        await expect(second.tab.locator(".receipt")).to_be_visible()
        await first.tab.reload()
        await expect(first.tab.get_by_label("API key")).to_be_visible()
        await expect(first.tab.get_by_text("You said: Hello")).to_have_count(0)


async def test_connection_that_another_tab_ended_says_so_and_leaves_the_list(
    visit: Visit, foreign_server: str
) -> None:
    async with two_tabs(visit, "status of 404") as (first, second):
        await first.show("connections/new")
        await first.tab.get_by_label("Address of the MCP server").fill(foreign_server)
        await first.tab.get_by_label("Name").fill("docs")
        await first.tab.get_by_role("button", name="Connect").click()
        await expect(first.tab.locator(".attempt .step.done")).to_be_visible()
        address = await first.tab.evaluate("location.hash")
        await second.show(address.removeprefix("#/"))
        await second.tab.locator("summary", has_text="fail").click()
        await first.tab.get_by_role("button", name="End").click()
        await first.tab.get_by_role("dialog").get_by_role("button", name="End").click()
        await expect(first.tab.get_by_text("No connections yet.")).to_be_visible()
        await second.tab.get_by_role("button", name="Run fail").click()
        await expect(second.tab.get_by_role("alert")).to_contain_text("not_found")
        await second.show("connections/new")
        await expect(second.tab.get_by_text("No connections yet.")).to_be_visible()
