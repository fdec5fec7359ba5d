"""The key of local work, and the commands that are printed with it."""

import re
from pathlib import Path

import pytest
import tree_sitter_powershell
from tree_sitter import Language, Parser

from local.banner import banner
from local.config import ConfigError
from local.key import key_for_local_work
from tests.infra.deployed import errors_of

POWERSHELL = Language(tree_sitter_powershell.language())


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEYS", "MCP_API_KEY", "MCP_SERVER_API_KEY"):
        # Set first, so that what is put there is taken away again.
        monkeypatch.setenv(name, "")


def test_key_is_kept_for_its_user_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ".local/key"
    key = key_for_local_work(path)
    assert key is not None
    assert path.read_text() == f"{key}\n"
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    path.chmod(0o644)
    monkeypatch.setenv("API_KEYS", "")
    assert key_for_local_work(path) == key
    assert path.stat().st_mode & 0o777 == 0o600


def test_file_without_a_key_gets_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("omf_half")
    assert key_for_local_work(path) == path.read_text().strip() != "omf_half"


@pytest.mark.parametrize("name", ["MCP_API_KEY", "MCP_SERVER_API_KEY"])
def test_key_of_the_settings_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "a-key-of-my-own")
    assert key_for_local_work(tmp_path / "key") is None
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="Set MCP_API_KEY to a key of your own"):
        key_for_local_work(tmp_path / "file/key")


@pytest.mark.parametrize("setting", ["", "many"])
def test_windows_gets_commands_for_powershell(
    monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setenv("CHAT_MAX_TURNS", setting)
    text = banner("http://localhost:7071", "omf_key", is_stand_in=True, is_windows=True)
    commands = re.findall(r"^irm .*$", text, re.MULTILINE)
    assert len(commands) == (1 if setting else 3)
    assert "curl" not in text
    for command in commands:
        assert errors_of(Parser(POWERSHELL).parse(command.encode()).root_node) == []
    # A console of Windows has few characters.
    assert text.isascii()
