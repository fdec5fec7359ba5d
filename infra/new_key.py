"""Makes a key for a caller: the key itself to the standard error, once; its digest for API_KEYS as JSON.

``python -m infra.new_key alice`` prints an object with the entry of alice. With ``--add-to`` the entry
joins those of an earlier object, so that the output is always the whole of API_KEYS.
"""

import argparse
import hashlib
import json
import re
import secrets
import sys

SCOPES = ("chat", "tools", "connections", "act-as")


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
        help="what the key may do, several times; default: chat, tools and connections",
    )
    parser.add_argument("--add-to", default="{}", metavar="JSON", help="API_KEYS so far")
    options = parser.parse_args()
    if not re.fullmatch(r"[A-Za-z0-9._@-]{1,128}", options.name):
        parser.error("the name must be 1 to 128 of A-Z a-z 0-9 . _ @ -")
    try:
        keys = json.loads(options.add_to or "{}")
    except ValueError:
        keys = None
    if not isinstance(keys, dict):
        parser.error("--add-to takes a JSON object")
    key = secrets.token_urlsafe(32)
    entry: dict[str, object] = {"sha256": hashlib.sha256(key.encode()).hexdigest()}
    if options.scope:
        entry["scopes"] = options.scope
    sys.stderr.write(f"key of {options.name}, shown only now: {key}\n")
    sys.stdout.write(json.dumps({**keys, options.name: entry}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
