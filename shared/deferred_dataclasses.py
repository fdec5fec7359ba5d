"""Generates the methods of a dataclass when one of them is used, not when the class is made.

Only on Python 3.13, which Azure runs: this stands on private parts of `dataclasses` that other versions
do not have or use otherwise. There the classes are as ever.

`dataclasses` writes ``__init__``, ``__repr__``, ``__eq__`` and their like as text and compiles it, which
takes half a millisecond for each class. Our modules and the libraries have 200 classes when the app has
been imported, and a first answer makes objects of a third of them.
"""

import dataclasses
import sys
from collections.abc import Callable
from copy import copy
from functools import wraps
from types import FunctionType
from typing import Any


def defer_methods() -> None:
    """Defers from now on; dataclasses that are made already stay as they are."""
    if sys.version_info[:2] == (3, 13):
        builder: Any = dataclasses._FuncBuilder  # type: ignore[attr-defined]
        builder.add_fns_to_class = _later(builder.add_fns_to_class)


def _later(generate: Callable[[Any, type], None]) -> Callable[[Any, type], None]:
    @wraps(generate)
    def add_fns_to_class(builder: Any, cls: type) -> None:
        if builder.overwrite_errors.keys() & vars(cls).keys():
            # It raises why the class may not have methods of its own of these names.
            generate(builder, cls)
            return
        for name in builder.names:
            # A method that the class has itself stays, but for a few, such as a hash of None.
            if name not in vars(cls) or builder.unconditional_adds.get(name):
                setattr(cls, name, _DeferredMethod(name, cls, builder, generate))

    return add_fns_to_class


class _DeferredMethod:
    """Stands in a class for a method until it is asked for, by a call or by `inspect`.

    Args:
        name: The method's name.
        cls: The class.
        builder: Has the texts of all generated methods of the class.
        generate: Compiles them and puts the methods into a class.
    """

    def __init__(
        self, name: str, cls: type, builder: Any, generate: Callable[[Any, type], None]
    ) -> None:
        self._name = name
        self._cls = cls
        self._builder = builder
        self._generate = generate

    def __set_name__(self, owner: type, name: str) -> None:
        # A class with slots is made again, of what the first one had.
        self._cls = owner

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        # Of most classes ``__init__`` alone is ever used: the others would take four times as long.
        position = self._builder.names.index(self._name)
        builder = copy(self._builder)
        builder.names = [self._name]
        builder.src = [self._builder.src[position]]
        # Into another class first: no thread may find the real one without the method.
        made = type(self._cls.__name__, (), {"__qualname__": self._cls.__qualname__})
        self._generate(builder, made)
        method: FunctionType = vars(made)[self._name]
        if vars(self._cls).get(self._name) is self:
            setattr(self._cls, self._name, method)
        return method.__get__(instance, owner)
