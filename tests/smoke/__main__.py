"""Proves that a deployed app works: ``python -m tests.smoke https://NAME.azurewebsites.net``.

It needs Python 3.11 and nothing else, and a key with the scopes chat and tools in ``SMOKE_API_KEY``. It
asks a model, and where not told otherwise for one picture, so a run costs some cents.
"""

import argparse
import os
import sys

from tests.smoke.checks import App, Failure, check, wait_for_build

DEFAULT_TIMEOUT_SECONDS = 600


def main() -> int:
    """Runs the command line and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.smoke", description=__doc__.splitlines()[0]
    )
    parser.add_argument("base_url", help="where the app answers")
    parser.add_argument("--build", help="wait until this build answers")
    parser.add_argument(
        "--timeout",
        type=float,
        default=DEFAULT_TIMEOUT_SECONDS,
        help="seconds to wait for the build, default: %(default)s",
    )
    parser.add_argument(
        "--without-images", action="store_true", help="ask for no picture: the app makes none"
    )
    options = parser.parse_args()
    key = os.environ.get("SMOKE_API_KEY", "")
    if not key:
        parser.error("set SMOKE_API_KEY to a key with the scopes chat and tools")
    if not options.base_url.startswith(("https://", "http://")):
        parser.error("the base URL begins with https://")
    app = App(options.base_url.rstrip("/"), key)
    try:
        if options.build:
            wait_for_build(app, options.build, options.timeout, _report)
        for line in check(app, with_images=not options.without_images):
            _report(line)
    except Failure as failure:
        _report(f"FAILED   {failure}")
        return 1
    _report(f"passed   {app.base_url}")
    return 0


def _report(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    # A pipeline shows progress only of what is flushed.
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
