"""The documents, and what is in their blocks of code."""

import re
from pathlib import Path

PROJECT = Path(__file__).parent.parent.parent
README = PROJECT / "README.md"
DEPLOY = PROJECT / "docs/deploy.md"
DOCUMENTS = (README, PROJECT / "CHANGELOG.md", *sorted((PROJECT / "docs").glob("*.md")))
"""All documents; `DEPLOY` has tests of its own in tests/infra."""

LOCAL = "http://localhost:7071"
"""Where the app is in all examples."""


def blocks(language: str, *paths: Path) -> list[str]:
    """Returns the blocks of code in a language, in the documents or in these of them."""
    texts = [path.read_text() for path in paths or DOCUMENTS if path != DEPLOY]
    pattern = rf"^```{language}\n(.*?)^```$"
    return [
        block for text in texts for block in re.findall(pattern, text, re.MULTILINE | re.DOTALL)
    ]


def curls(*paths: Path) -> list[str]:
    """Returns the ``curl`` commands in the blocks for the shell, but for those of administrators."""
    return [
        command
        for block in blocks("sh", *paths)
        for command in re.findall(r"^curl (?:.*\\\n)*.*$", block, re.MULTILINE)
        if "$ADMIN_KEY" not in command
    ]


def anchors(path: Path) -> set[str]:
    """Returns the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#{1,6} (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
