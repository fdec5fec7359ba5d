"""The documents hang together, and say what the code has."""

import json
import re
from pathlib import Path

import pytest

from local.settings_page import PAGE, settings_page
from shared.app import create_app
from shared.settings import SETTING_NAMES, load_settings
from tests.documents.markdown import DOCUMENTS, PROJECT, README, anchors

LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([\w-]+))?\)")


def test_readme_has_at_most_1500_words() -> None:
    assert len(README.read_text().split()) <= 1500


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_of_a_document_lead_somewhere(path: Path) -> None:
    lost = []
    for target, anchor in LINK.findall(path.read_text()):
        file = (path.parent / target).resolve() if target else path
        if not file.exists() or (anchor and anchor not in anchors(file)):
            lost.append(f"{target}#{anchor}")
    assert lost == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_document_is_linked_from_the_readme(path: Path) -> None:
    assert path == README or f"({path.relative_to(PROJECT)})" in README.read_text()


def test_page_of_settings_is_what_the_code_says() -> None:
    assert PAGE.read_text() == settings_page(), "Run 'make settings'."


def test_page_of_settings_has_every_setting() -> None:
    page = settings_page()
    assert [name for name in SETTING_NAMES if f"`{name}`" not in page] == []


def test_api_document_has_every_route(environment: dict[str, str]) -> None:
    text = (PROJECT / "docs/api.md").read_text()
    document = create_app(load_settings(environment)).openapi()
    paths = [re.sub(r"\{\w+\}", "{}", path) for path in document["paths"]]
    documented = re.sub(r"\{\w+\}", "{}", text)
    assert [
        path
        for path in paths
        if not path.startswith(("/tools/", "/v1/"))
        and not re.search(re.escape(path) + r"[`?]", documented)
    ] == []
    assert [
        path
        for path in paths
        if path.startswith("/v1/") and path.removeprefix("/v1/").partition("/{}")[0] not in text
    ] == []


def test_api_document_has_every_tool(environment: dict[str, str]) -> None:
    text = (PROJECT / "docs/api.md").read_text()
    document = json.dumps(create_app(load_settings(environment)).openapi())
    tools = set(re.findall(r'"/tools/(\w+)"', document))
    assert tools
    assert [name for name in sorted(tools) if f"`{name}`" not in text] == []
