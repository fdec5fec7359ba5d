"""What the tests of the deployment share."""

import sys

import pytest

from infra.package import runtime_python

collect_ignore: list[str] = []
if f"{sys.version_info.major}.{sys.version_info.minor}" != runtime_python():
    collect_ignore += ["test_package.py", "test_azd_up.py", "artifact.py"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if collect_ignore:
        terminalreporter.write_line(
            "tests/infra/test_package.py and test_azd_up.py were left out: a package is built with the "
            f"runtime's Python {runtime_python()} only."
        )
