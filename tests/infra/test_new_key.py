import hashlib
import json
import re
import subprocess
import sys
from typing import cast

import pytest

from shared.auth import KeyAuthenticator
from shared.key_text import KEY_PATTERN, has_valid_checksum
from shared.settings import load_settings


def new_key(*arguments: str) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "infra.new_key", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, done.stderr.split(": ")[-1].strip()


async def test_app_knows_the_keys_by_what_is_printed() -> None:
    first, alice = new_key("alice")
    both, web = new_key("web", "--scope", "chat", "--scope", "act-as", "--add-to", first)
    settings = load_settings({"API_KEYS": both})
    assert settings.problems == ()
    authenticator = KeyAuthenticator(settings)
    for name, key in (("alice", alice), ("web", web)):
        principal = await authenticator.authenticate({"x-api-key": key}.get)
        assert principal
        assert principal.name == name
    assert settings.auth.api_keys.entries["web"].scopes == {"chat", "act-as"}


def test_only_the_digest_is_for_the_deployment() -> None:
    printed, key = new_key("alice")
    assert json.loads(printed) == {"alice": {"sha256": hashlib.sha256(key.encode()).hexdigest()}}
    assert key not in printed


OLD = hashlib.sha256(b"the-old-key").hexdigest()


def renew(entry: object, *arguments: str) -> tuple[dict[str, dict[str, object]], str]:
    command = [sys.executable, "-m", "infra.new_key", "web", *arguments]
    command += ["--add-to", json.dumps({"alice": OLD, "web": entry})]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout), done.stderr


GRANT = {
    "scopes": ["chat"],
    "expires": "2027-01-31",
    "models": ["gpt-6-*"],
    "limits": {"requests_per_day": 40},
}


def test_renewed_key_keeps_all_that_it_may_do_and_says_what_it_replaces() -> None:
    keys, told = renew({"sha256": OLD, **GRANT})
    assert keys["web"].pop("sha256") != OLD
    assert keys == {"alice": OLD, "web": GRANT}
    assert told.startswith("replaces the key of web,")
    assert (
        'it keeps its scopes: chat; expires: "2027-01-31"; models: ["gpt-6-*"]; '
        'limits: {"requests_per_day": 40}\n' in told
    )


def test_renewed_key_that_was_a_digest_keeps_the_default_scopes() -> None:
    keys, told = renew(OLD)
    assert keys["web"].keys() == {"sha256"}
    assert "it keeps its scopes: chat, tools, connections, openai\n" in told


def test_renewed_key_with_other_scopes_says_so() -> None:
    keys, told = renew({"sha256": OLD, "scopes": ["chat"]}, "--scope", "tools")
    assert keys["web"]["scopes"] == ["tools"]
    assert "its scopes were chat and become tools\n" in told


@pytest.mark.parametrize("entry", [OLD, {"sha256": OLD}, {"sha256": [OLD]}])
async def test_old_key_can_be_kept_beside_the_new_one(entry: object) -> None:
    keys, told = renew(entry, "--keep-old", "--expires", "2999-01-31")
    new, old = cast(list[str], keys["web"]["sha256"])
    assert (old, keys["web"]["expires"]) == (OLD, "2999-01-31")
    assert told.startswith("adds a key of web; the 1 before stay valid beside it")
    only_web = json.dumps({"web": keys["web"]})
    authenticator = KeyAuthenticator(load_settings({"API_KEYS": only_web}))
    for key in ("the-old-key", told.split(": ")[-1].strip()):
        principal = await authenticator.authenticate({"x-api-key": key}.get)
        assert principal is not None
        assert principal.name == "web"
    keys, told = renew({"sha256": [new, old]})
    assert isinstance(keys["web"]["sha256"], str)
    assert told.startswith("replaces the 2 keys of web")


def test_key_is_one_that_secret_scanners_recognise() -> None:
    _, key = new_key("alice")
    assert re.fullmatch(KEY_PATTERN, key)
    assert has_valid_checksum(key)
    assert not has_valid_checksum(key[:-1] + ("0" if key[-1] != "0" else "1"))


def test_entry_that_is_neither_digest_nor_object_is_refused() -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        renew(7)
    assert "entry web, is neither a digest nor an object" in failed.value.stderr


@pytest.mark.parametrize("blank", ["", " "])
def test_blank_value_is_refused_because_it_would_drop_the_keys_of_others(blank: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        new_key("web", "--add-to", blank)
    assert "--add-to is blank" in failed.value.stderr
    assert failed.value.stdout == ""
