"""Makes a key for a caller: the key itself to the standard error, once; its digest for API_KEYS as JSON.

``python -m infra.new_key alice`` prints an object with the entry of alice. With ``--add-to`` the entry
joins those of an earlier object, so that the output is always the whole of API_KEYS. Where that has an
entry of alice already, the new key replaces the old one and keeps its scopes.
"""

import argparse
import hashlib
import json
import re
import secrets
import sys

DEFAULT_SCOPES = ("chat", "tools", "connections")
SCOPES = (*DEFAULT_SCOPES, "act-as")


def main() -> int:
    """Runs the command line and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.new_key", description=__doc__.splitlines()[0]
    )
    parser.add_argument("name", help="name of the caller")
    parser.add_argument(
        "--scope",
        action="append",
        choices=SCOPES,
        help="what the key may do, several times; default: what the key that it replaces may do, or "
        "chat, tools and connections",
    )
    parser.add_argument("--add-to", default="{}", metavar="JSON", help="API_KEYS so far")
    options = parser.parse_args()
    if not re.fullmatch(r"[A-Za-z0-9._@-]{1,128}", options.name):
        parser.error("the name must be 1 to 128 of A-Z a-z 0-9 . _ @ -")
    if not options.add_to.strip():
        # Most likely a shell variable that is not set: the output would drop everybody else's key.
        parser.error("--add-to is blank: give API_KEYS as it is now, or leave --add-to out")
    try:
        keys = json.loads(options.add_to)
    except ValueError:
        keys = None
    if not isinstance(keys, dict):
        parser.error("--add-to takes a JSON object")
    replaced = keys.get(options.name)
    if not isinstance(replaced, (str, dict, type(None))):
        parser.error(f"--add-to, entry {options.name}, is neither a digest nor an object")
    key = secrets.token_urlsafe(32)
    entry: dict[str, object] = dict(replaced) if isinstance(replaced, dict) else {}
    entry["sha256"] = hashlib.sha256(key.encode()).hexdigest()
    if options.scope:
        entry["scopes"] = options.scope
    if replaced is not None:
        sys.stderr.write(_replacement(options.name, replaced, entry))
    sys.stderr.write(f"key of {options.name}, shown only now: {key}\n")
    sys.stdout.write(json.dumps({**keys, options.name: entry}) + "\n")
    return 0


def _replacement(name: str, old: str | dict[str, object], new: dict[str, object]) -> str:
    before, after = (_scopes(entry) for entry in (old if isinstance(old, dict) else {}, new))
    change = "it keeps its scopes: " if before == after else f"its scopes were {before} and become "
    return (
        f"replaces the key of {name}, which ends when this API_KEYS is deployed; {change}{after}\n"
    )


def _scopes(entry: dict[str, object]) -> str:
    scopes = entry.get("scopes", DEFAULT_SCOPES)
    return ", ".join(map(str, scopes)) if isinstance(scopes, list | tuple) else str(scopes)


if __name__ == "__main__":
    sys.exit(main())
