import hashlib
import json
import subprocess
import sys

from shared.auth import KeyAuthenticator
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
    authenticator = KeyAuthenticator.from_settings(settings)
    assert authenticator
    for name, key in (("alice", alice), ("web", web)):
        principal = await authenticator.authenticate({"x-api-key": key}.get)
        assert principal
        assert principal.name == name
    assert settings.api_keys["web"].scopes == {"chat", "act-as"}


def test_only_the_digest_is_for_the_deployment() -> None:
    printed, key = new_key("alice")
    assert json.loads(printed) == {"alice": {"sha256": hashlib.sha256(key.encode()).hexdigest()}}
    assert key not in printed
