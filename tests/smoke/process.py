"""Tells whether a deployment has replaced the app: ``python -m tests.smoke.process URL``.

It prints what ``/health`` says of the process that answers: its build, and when it started. With
``--same-as FILE``, an earlier output, it exits with 1 where another build or another process answers. An
app that has scaled since may answer from another process without a restart. It needs Python 3.11.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.smoke.checks import App, Failure

_TOLERANCE_SECONDS = 10
"""More than the answer of /health takes, and less than a restart."""


@dataclass(frozen=True)
class Process:
    """A process of the app.

    Attributes:
        build: Its build.
        version: Its version, which names the build of its code.
        started: When it started, in seconds since 1970 by this machine's clock.
    """

    build: str
    version: str
    started: float

    def difference(self, earlier: "Process") -> str | None:
        """Returns what shows that it is not the earlier process; None where nothing does."""
        if (self.build, self.version) != (earlier.build, earlier.version):
            return f"build {self.build} ({self.version}), not {earlier.build} ({earlier.version})"
        later = self.started - earlier.started
        if abs(later) > _TOLERANCE_SECONDS:
            direction = "later" if later > 0 else "earlier"
            return f"another process, which started {abs(later):.0f} s {direction}"
        return None


def process(app: App) -> Process:
    """Asks the app which process it is.

    Raises:
        Failure: There is no answer.
    """
    health = app.send("/health", with_key=False).json("health", but=503)
    return Process(health["build"], health["version"], time.time() - health["uptime_seconds"])


def main() -> int:
    """Runs the command line and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.smoke.process", description=__doc__.splitlines()[0]
    )
    parser.add_argument("base_url", help="where the app answers")
    parser.add_argument("--same-as", type=Path, metavar="FILE", help="an earlier output")
    options = parser.parse_args()
    try:
        found = process(App(options.base_url.rstrip("/"), ""))
    except Failure as failure:
        sys.stderr.write(f"FAILED   {failure}\n")
        return 1
    sys.stdout.write(json.dumps(asdict(found)) + "\n")
    if options.same_as is None:
        return 0
    difference = found.difference(
        Process(**json.loads(options.same_as.read_text(encoding="utf-8")))
    )
    if difference:
        sys.stdout.write(f"FAILED   {difference}\n")
        return 1
    sys.stdout.write("ok       the same process with the same build\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
