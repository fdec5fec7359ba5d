"""The app in a process of its own, which tests can kill; run with a port as its argument.

Leases and the pauses between two looks at a video are short, so that tests need not wait for them.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[2]


@dataclass(frozen=True)
class AppProcess:
    """A running app.

    Attributes:
        origin: Where it answers.
    """

    origin: str
    process: "subprocess.Popen[str]"

    def kill(self) -> None:
        """Ends it as a machine that fails does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def running(environment: Mapping[str, str]) -> Iterator[AppProcess]:
    """Runs the app while the block runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.media.app_process"],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        origin = process.stdout.readline().strip()
        assert origin.startswith("http"), "the app did not start"
        yield AppProcess(origin, process)
    finally:
        process.kill()
        process.communicate()


def main() -> None:
    """Serves until it is killed."""
    import asyncio

    from local.server import LOOPBACK, LoopbackServer, bind
    from shared.app import create_app
    from shared.timing import Timing

    # Blob Storage tells the age of what it stores in whole seconds.
    timing = Timing(lease=2.0, renewal=0.25, longest_video_poll=0)
    bound = bind(0)
    host = f"{LOOPBACK}:{bound.getsockname()[1]}"
    os.environ["WEBSITE_HOSTNAME"] = host
    server = LoopbackServer(create_app(timing=timing), bound)
    server.listen()
    sys.stdout.write(f"http://{host}\n")
    sys.stdout.flush()
    asyncio.run(server.run_until_stopped())


if __name__ == "__main__":
    main()
