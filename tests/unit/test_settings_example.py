import json
from pathlib import Path

from shared.settings import SETTING_NAMES, load_settings

PROJECT = Path(__file__).parent.parent.parent
EXAMPLE = PROJECT / "local.settings.example.json"

FOR_THE_HOST = {
    "AzureWebJobsDisableHomepage",
    "FUNCTIONS_WORKER_RUNTIME",
    "PYTHON_ENABLE_INIT_INDEXING",
}
"""What Core Tools and the worker read, not the app."""


def values() -> dict[str, str]:
    loaded: dict[str, str] = json.loads(EXAMPLE.read_text())["Values"]
    return loaded


def test_example_lists_every_setting_and_nothing_else() -> None:
    assert set(values()) == set(SETTING_NAMES) | FOR_THE_HOST


def test_example_is_valid_and_holds_no_secret() -> None:
    settings = load_settings(values())
    assert settings.problems == ()
    assert [name for name in values() if name.endswith("_KEY") and values()[name]] == []


def test_every_setting_is_described() -> None:
    assert [name for name, description in SETTING_NAMES.items() if not description] == []
