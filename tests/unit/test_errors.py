"""Exceptions keep what was raised with them alive, so that none may live as long as the process."""

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import shared
from shared.errors import Conflict, ProviderUnavailable, RateLimited, StorageUnavailable


def modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(shared.__path__, "shared."):
        yield importlib.import_module(found.name)


def constants(module: ModuleType) -> Iterator[tuple[str, object]]:
    """What a module and its classes hold, one level into tuples, lists and mappings."""
    owned = [each for each in vars(module).values() if isinstance(each, type)]
    for owner in (module, *owned):
        for name, value in vars(owner).items():
            yield f"{module.__name__}: {name}", value
            if isinstance(value, dict):
                yield from ((f"{module.__name__}: {name}", each) for each in value.values())
            elif isinstance(value, tuple | list | set | frozenset):
                yield from ((f"{module.__name__}: {name}", each) for each in value)


def test_no_module_holds_an_exception() -> None:
    # Each raise of the same instance adds frames to its traceback, and these keep their data.
    held = [
        name
        for module in modules()
        for name, value in constants(module)
        if isinstance(value, BaseException)
    ]
    assert held == []


def test_errors_say_in_whole_seconds_when_to_try_again() -> None:
    for kind in (Conflict, ProviderUnavailable, RateLimited, StorageUnavailable):
        assert kind("Try again.", 0.2).headers == {"Retry-After": "1"}
    assert Conflict("Try again.").headers == {}
    assert RateLimited("Try again.").headers == {"Retry-After": "5"}
