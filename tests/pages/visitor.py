"""A visitor of the page: a tab of a real browser, and what must never happen in one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect

from tests.node import installed
from tests.waiting import until

SIZES = {"desktop": (1280, 800), "phone": (390, 844), "narrow": (320, 640)}
TIMEOUT_SECONDS = 30
"""Patience with what the page does: far more than it takes, so that a busy machine fails no test."""

Theme = Literal["light", "dark"]


@dataclass
class Visitor:
    """A tab, and the problems that it has met.

    Attributes:
        tab: The tab.
        origin: Where the app is.
        others: Further origins that the page may ask, such as the storage's.
        expected: Parts of messages of the console that the test provokes.
        problems: Messages of the console, errors of scripts, and requests to other hosts.
        requests: Addresses that were asked for.
        pending: Requests that have no answer yet.
    """

    tab: Page
    origin: str
    others: tuple[str, ...] = ()
    expected: tuple[str, ...] = ()
    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    pending: set[Request] = field(default_factory=set)

    def watch(self) -> None:
        """Records from now on."""
        self.tab.set_default_timeout(TIMEOUT_SECONDS * 1000)
        self.tab.on("console", self._note_console)
        self.tab.on("pageerror", lambda error: self.problems.append(f"script: {error}"))
        self.tab.on("request", self._note_request)
        self.tab.on("requestfinished", self._note_end)
        self.tab.on("requestfailed", self._note_end)
        self.tab.on("dialog", lambda dialog: self.problems.append(f"dialog: {dialog.message}"))

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not any(
            part in message.text for part in self.expected
        ):
            self.problems.append(f"console: {message.text}")

    def _note_request(self, request: Request) -> None:
        address = urlsplit(request.url)
        self.requests.append(request.url)
        self.pending.add(request)
        if address.scheme in ("data", "blob"):
            return
        if f"{address.scheme}://{address.netloc}" not in (self.origin, *self.others):
            self.problems.append(f"asked another host: {request.url}")

    def _note_end(self, request: Request) -> None:
        self.pending.discard(request)

    async def sign_in(self, key: str, view: str = "chat") -> None:
        """Opens the page as the link of the console does, and a view."""
        await self.tab.goto(f"{self.origin}/#key={key}")
        await expect(self.tab.get_by_role("textbox", name="Message")).to_be_visible()
        if view != "chat":
            await self.show(view)

    async def module(self, name: str) -> str:
        """Returns the path of a module of the page, as the page itself imports it."""
        script = await self.tab.locator('script[type="module"]').get_attribute("src")
        return str(script).replace("app.js", f"{name}.js")

    async def show(self, view: str) -> None:
        """Goes to a view and waits until it is there."""
        await self.tab.evaluate("view => { location.hash = `#/${view}` }", view)
        await expect(self.tab.locator("main")).to_have_attribute("data-shown", f"#/{view}")
        await expect(self.tab.locator("main h1")).to_have_count(1)
        await expect(self.tab.locator("main .skeleton")).to_have_count(0)

    async def ask(self, text: str) -> None:
        """Sends a message in the chat."""
        await self.tab.get_by_role("textbox", name="Message").fill(text)
        await self.tab.keyboard.press("Enter")

    async def violations(self) -> list[str]:
        """Returns what axe finds wrong with what is shown."""
        script = installed("axe-core/axe.min.js").read_text()
        # Evaluated by the browser's debugger, to which the page's policy does not apply.
        await self.tab.evaluate(f"{script}; undefined")
        found: dict[str, Any] = await self.tab.evaluate(
            "axe.run(document, { resultTypes: ['violations'] })"
        )
        return [
            f"{each['id']}: {node['html'][:200]} {node['failureSummary'][:300]}"
            for each in found["violations"]
            for node in each["nodes"]
        ]

    async def sideways(self) -> int:
        """Returns by how many pixels the page is wider than the window."""
        wider: int = await self.tab.evaluate(
            "Math.max(...[document.documentElement, ...document.querySelectorAll('main, .page, .log')]"
            ".map(each => each.scrollWidth - each.clientWidth))"
        )
        return wider


@asynccontextmanager
async def visiting(
    browser: Browser,
    origin: str,
    *,
    size: str = "desktop",
    theme: Theme = "light",
    others: tuple[str, ...] = (),
    expected: tuple[str, ...] = (),
) -> AsyncIterator[Visitor]:
    """Opens a tab with a store of its own, and fails where the page did what it must not."""
    width, height = SIZES[size]
    context: BrowserContext = await browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=theme,
        reduced_motion="reduce",
        locale="en-GB",
        permissions=["clipboard-read", "clipboard-write"],
    )
    visitor = Visitor(await context.new_page(), origin, others, expected)
    visitor.watch()
    try:
        yield visitor
        # A request that the end of the test cut off would be a failure of the app's.
        await until(lambda: len(visitor.pending), lambda count: count == 0)
    finally:
        await context.close()
    assert visitor.problems == []
