"""Each test runs in a process of its own, in which `shared` is imported before anything else."""

import subprocess
import sys

import pytest

IS_DEFERRED = sys.version_info[:2] == (3, 13)

POINT = """
from dataclasses import FrozenInstanceError, dataclass, field

@dataclass(frozen=True, slots=True)
class Point:
    "A point."
    x: int
    y: int = 0
    names: list[str] = field(default_factory=list, compare=False)

@dataclass(frozen=True, kw_only=True)
class Named(Point):
    "A point with a name."
    name: str = "origin"

@dataclass(order=True)
class Size:
    "A size."
    width: int

def attempt(act):
    try:
        return act()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
"""


def run(code: str, before: str = "import shared") -> list[str]:
    """Runs Python, by default after `shared` was imported, and returns the lines that it prints."""
    completed = subprocess.run(
        [sys.executable, "-c", f"{before}\n{POINT}\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return completed.stdout.splitlines()


def test_methods_are_generated_by_their_first_use() -> None:
    code = """
from types import FunctionType
def generated():
    return [isinstance(vars(Point)[name], FunctionType) for name in ("__init__", "__eq__")]
print(generated(), Point(1).x, generated(), Point(1) == Point(1), generated())
"""
    at_once = not IS_DEFERRED
    expected = [[at_once, at_once], 1, [True, at_once], True, [True, True]]
    assert run(code) == [" ".join(map(str, expected))]


BEHAVIOUR = [
    "Point(1, 2)",
    "Point(1) == Point(1, 0, ['a'])",
    "Point(1) == Named(x=1)",
    "hash(Point(3)) == hash(Point(3))",
    "{Point(1): 'found'}[Point(1)]",
    "attempt(lambda: setattr(Point(1), 'x', 2))",
    "attempt(lambda: delattr(Point(1), 'x'))",
    "attempt(lambda: Point())",
    "attempt(lambda: Point(1, z=2))",
    "Named(x=1, name='a')",
    "Named.__mro__[1].__init__ is Point.__init__",
    "__import__('inspect').signature(Point)",
    "__import__('inspect').signature(Named)",
    "Point.__init__.__qualname__",
    "__import__('dataclasses').replace(Point(1), y=3)",
    "__import__('copy').deepcopy(Point(1, 2, ['a']))",
    "__import__('pickle').loads(__import__('pickle').dumps(Point(1, 2)))",
    "__import__('pydantic').TypeAdapter(Point).validate_python({'x': '1'})",
    "attempt(lambda: dataclass(order=True)(type('Own', (), {'__lt__': 1, '__annotations__': {}})))",
    "dataclass(type('Own', (), {'__repr__': lambda self: 'own'}))()",
    "attempt(lambda: hash(dataclass(type('Plain', (), {}))()))",
    "dataclass(type('Undocumented', (), {'__annotations__': {'x': int}})).__doc__",
    "sorted([Size(2), Size(1)])",
]


@pytest.fixture(scope="module")
def answers() -> dict[str, tuple[str, str]]:
    """What each of them gives with and without."""
    code = "".join(f"print({expression})\n" for expression in BEHAVIOUR)
    return dict(zip(BEHAVIOUR, zip(run(code), run(code, before=""), strict=True), strict=True))


@pytest.mark.parametrize("expression", BEHAVIOUR)
def test_dataclass_does_what_it_would_without(
    answers: dict[str, tuple[str, str]], expression: str
) -> None:
    found, expected = answers[expression]
    assert found == expected


def test_threads_that_use_a_dataclass_first_at_once_all_find_its_methods() -> None:
    code = """
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
barrier = Barrier(16)
def use(number):
    barrier.wait()
    return Point(number) == Point(number) and hash(Point(number)) is not None
with ThreadPoolExecutor(16) as pool:
    print(all(pool.map(use, range(16))))
"""
    assert run(code) == ["True"]
