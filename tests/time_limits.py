"""Makes pytest-timeout's limits hold in tests that run an event loop.

What a signal handler raises while the loop runs a callback is logged by the loop and lost, and with it
the only signal of pytest-timeout: the test would hang. So the signal comes again.
"""

import signal
from collections.abc import Generator
from typing import Any

import pytest

AGAIN_SECONDS = 30.0
"""Between two signals; a test that has failed at the first one is torn down in less."""


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer(settings: Any) -> Generator[None, object, object]:
    """Repeats the signal of a test's limit until the test has ended."""
    result = yield
    if settings.method == "signal":
        signal.setitimer(signal.ITIMER_REAL, settings.timeout, AGAIN_SECONDS)
    return result
