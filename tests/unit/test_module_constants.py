import importlib
import pkgutil

import shared


def test_no_exception_is_kept_by_a_module() -> None:
    """One that is raised again and again keeps tracebacks, and with them the data of requests."""
    kept = [
        f"{module.name}.{name}"
        for module in pkgutil.walk_packages(shared.__path__, "shared.")
        for name, value in vars(importlib.import_module(module.name)).items()
        if isinstance(value, BaseException)
    ]
    assert kept == []
