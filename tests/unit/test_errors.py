"""Exceptions keep what was raised with them alive, so that none may live as long as the process."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from types import ModuleType

import shared
from shared import errors
from shared.errors import (
    Conflict,
    GatewayError,
    ProviderUnavailable,
    RateLimited,
    StorageUnavailable,
)


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


def drawn() -> dict[str, tuple[str, str, str, str]]:
    """Returns the tree at the top of the module: parent, status, code and module of each class."""
    found: dict[str, tuple[str, str, str, str]] = {}
    above: list[str] = []
    line = re.compile(r"    ((?:[│ ] {3})*(?:[├└]── )?)(\w+) *(\d{3})? *([a-z_]+)? *([a-z_.]+)?")
    for text in (errors.__doc__ or "").splitlines():
        if (match := line.fullmatch(text)) is None:
            continue
        indent, name, status, code, module = match.groups("")
        above[len(indent) // 4 :] = [name]
        found[name] = (above[-2] if len(above) > 1 else "", status, code, module)
    return found


def subclasses(kind: type[GatewayError]) -> Iterator[type[GatewayError]]:
    for each in kind.__subclasses__():
        if each.__module__.startswith("shared."):
            yield each
            yield from subclasses(each)


def test_the_drawn_tree_of_errors_is_the_tree() -> None:
    assert list(modules())
    expected = {}
    kinds: set[type[GatewayError]] = {GatewayError, *subclasses(GatewayError)}
    for kind in kinds:
        base = "" if kind is GatewayError else kind.__bases__[0].__name__
        module = "" if kind.__module__.startswith(f"{errors.__name__}.") else kind.__module__
        expected[kind.__name__] = (base, str(kind.status), kind.code, module)
    tree = drawn()
    for name in ("LimitReached", "ProviderError", "ForwardedError"):
        # None of these is answered as what it is.
        assert tree[name][1:3] == ("", "")
        tree[name] = (tree[name][0], *expected[name][1:])
    assert tree == expected
