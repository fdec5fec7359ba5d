"""What the tests of the deployment share."""

import sys
from pathlib import Path

import pytest

from infra.package import runtime_python
from tests.selection import leave_out

FOLDER = Path(__file__).parent

collect_ignore: list[str] = []
if f"{sys.version_info.major}.{sys.version_info.minor}" != runtime_python():
    collect_ignore += ["test_package.py", "test_azd_up.py", "artifact.py"]
    reason = f"a package is built with the runtime's Python {runtime_python()} only."
    leave_out("tests/infra/test_package.py and test_azd_up.py", reason)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if FOLDER in item.path.parents:
            item.add_marker(pytest.mark.any_python)
