"""Makes a key for a caller: the key itself to the standard error, once; its digest for API_KEYS as JSON.

``python -m infra.new_key alice`` prints an object with the entry of alice. With ``--add-to`` the entry
joins those of an earlier object, so that the output is always the whole of API_KEYS. Where that has an
entry of alice already, the new key replaces the old one and keeps what it may do; with ``--keep-old``
both are valid, until a later run without it.
"""

import argparse
import json
import re
import sys
from datetime import date
from typing import Any

from shared.key_text import digest_key, generate_key

DEFAULT_SCOPES = ("chat", "tools", "connections", "openai")
SCOPES = (*DEFAULT_SCOPES, "act-as", "admin")
MAX_DIGESTS = 10
KEPT = ("scopes", "expires", "models", "limits")
"""Fields that a renewed key keeps."""


def main() -> int:
    """Runs the command line and returns the exit status."""
    parser = _parser()
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
    old: dict[str, Any] = {"sha256": replaced} if isinstance(replaced, str) else replaced or {}
    old_digests = old.get("sha256", [])
    old_digests = [old_digests] if isinstance(old_digests, str) else list(old_digests)
    if options.keep_old and len(old_digests) >= MAX_DIGESTS:
        parser.error(
            f"{options.name} has {MAX_DIGESTS} keys already: leave out --keep-old, or delete some of "
            "their digests from --add-to"
        )
    key = generate_key()
    digest = digest_key(key.encode())
    kept = old_digests if options.keep_old else []
    entry = {**old, "sha256": [digest, *kept] if kept else digest}
    if options.scope:
        entry["scopes"] = options.scope
    if options.expires:
        entry["expires"] = options.expires
    if replaced is not None:
        sys.stderr.write(_replacement(options.name, old, entry, len(old_digests), len(kept)))
    sys.stderr.write(f"key of {options.name}, shown only now: {key}\n")
    sys.stdout.write(json.dumps({**keys, options.name: entry}) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m infra.new_key", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("name", help="name of the caller")
    parser.add_argument(
        "--scope",
        action="append",
        choices=SCOPES,
        help="what the key may do, several times; default: what the key that it replaces may do, or "
        "chat, tools, connections and openai",
    )
    parser.add_argument(
        "--expires",
        type=_day,
        metavar="YYYY-MM-DD",
        help="the last day on which the keys of this name are valid, in UTC; default: as before, or "
        "never",
    )
    parser.add_argument(
        "--keep-old",
        action="store_true",
        help="let the old key be valid beside the new one, until a later run without --keep-old",
    )
    parser.add_argument("--add-to", default="{}", metavar="JSON", help="API_KEYS so far")
    return parser


def _day(text: str) -> str:
    return date.fromisoformat(text).isoformat()


def _replacement(
    name: str, old: dict[str, Any], new: dict[str, Any], old_keys: int, kept_keys: int
) -> str:
    if kept_keys:
        told = f"adds a key of {name}; the {kept_keys} before stay valid beside it"
    else:
        keys = "the key" if old_keys == 1 else f"the {old_keys} keys"
        told = f"replaces {keys} of {name}, valid until this API_KEYS is deployed"
    before, after = _scopes(old), _scopes(new)
    change = "it keeps its scopes: " if before == after else f"its scopes were {before} and become "
    others = "".join(
        f"; {field}: {json.dumps(new[field])}" for field in KEPT[1:] if new.get(field) is not None
    )
    return f"{told}; {change}{after}{others}\n"


def _scopes(entry: dict[str, Any]) -> str:
    scopes = entry.get("scopes", DEFAULT_SCOPES)
    return ", ".join(map(str, scopes)) if isinstance(scopes, list | tuple) else str(scopes)


if __name__ == "__main__":
    sys.exit(main())
