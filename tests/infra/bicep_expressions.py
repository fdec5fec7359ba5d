"""Expressions of Bicep, as functions of a scope."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.infra.bicep_tokens import BicepError

Lookup = Callable[[str], Any]
"""Returns the value of a name."""

Expression = Callable[[Lookup], Any]

Operator = Callable[[Any, Any], Any]

OPERATORS: list[dict[str, Operator]] = [
    {"==": lambda left, right: left == right, "!=": lambda left, right: left != right},
    {
        "<": lambda left, right: left < right,
        ">": lambda left, right: left > right,
        "<=": lambda left, right: left <= right,
        ">=": lambda left, right: left >= right,
    },
    {"+": lambda left, right: left + right, "-": lambda left, right: left - right},
    {"*": lambda left, right: left * right, "/": lambda left, right: left // right},
]
"""Binary operators, those that bind least first."""


class Reference(str):
    """A value that Azure knows only once the resource exists."""

    def member(self, name: str) -> "Reference":
        """Returns a property of it."""
        return Reference(f"{self}.{name}")


@dataclass
class Statement:
    """A declaration.

    Attributes:
        kind: ``param``, ``var``, ``output``, ``resource``, ``module``, ``import`` or ``using``.
        source: Type and version of a resource, path of a module or import.
        names: What is imported.
    """

    kind: str
    name: str
    value: Expression | None = None
    source: str = ""
    existing: bool = False
    nullable: bool = False
    condition: Expression | None = None
    loop: tuple[list[str], Expression] | None = None
    names: list[str] = field(default_factory=list)


class ObjectExpression:
    """An object, with the child resources that are declared in it."""

    def __init__(self) -> None:
        self.properties: list[tuple[Expression | None, Expression]] = []
        self.children: dict[str, Statement] = {}

    def __call__(self, lookup: Lookup) -> dict[str, Any]:
        """Returns the evaluated object; a property without a key is a spread."""
        found: dict[str, Any] = {}
        for key, value in self.properties:
            if key is None:
                found.update(value(lookup))
            else:
                found[key(lookup)] = value(lookup)
        return found


def loop_scopes(names: list[str], items: list[Any], lookup: Lookup) -> list[Lookup]:
    """Returns a scope for each round of a loop."""
    return [
        with_names(lookup, dict(zip(names, (item, i), strict=False)))
        for i, item in enumerate(items)
    ]


def with_names(lookup: Lookup, names: Mapping[str, Any]) -> Lookup:
    """Returns a scope that knows these names besides."""
    return lambda name: names[name] if name in names else lookup(name)


def constant(value: Any) -> Expression:
    """Returns an expression that is always the same."""
    return lambda lookup: value


def coalesce(left: Expression, right: Expression) -> Expression:
    """Returns ``left ?? right``."""

    def value(lookup: Lookup) -> Any:
        found = left(lookup)
        return right(lookup) if found is None else found

    return value


def either(left: Expression, right: Expression) -> Expression:
    """Returns ``left || right``."""
    return lambda lookup: left(lookup) or right(lookup)


def both(left: Expression, right: Expression) -> Expression:
    """Returns ``left && right``."""
    return lambda lookup: left(lookup) and right(lookup)


def binary(operator: Operator, left: Expression, right: Expression) -> Expression:
    """Returns the operator applied to both."""
    return lambda lookup: operator(left(lookup), right(lookup))


def join(parts: list[Expression]) -> Expression:
    """Returns an interpolated string."""

    def value(lookup: Lookup) -> str:
        found = [part(lookup) for part in parts]
        text = "".join(map(str, found))
        return Reference(text) if any(isinstance(each, Reference) for each in found) else text

    return value


def member(target: Expression, name: Expression, safe: bool) -> Expression:
    """Returns ``target.name``, ``target[name]`` or, if safe, ``target.?name``."""

    def value(lookup: Lookup) -> Any:
        found, key = target(lookup), name(lookup)
        if hasattr(found, "member"):
            return found.member(key)
        if safe and (found is None or key not in found):
            return None
        try:
            return found[key]
        except (KeyError, IndexError, TypeError) as error:
            raise BicepError(f"{key!r} is not in {found!r}") from error

    return value


def function(names: list[str], body: Expression) -> Expression:
    """Returns ``(names) => body``."""
    return lambda lookup: (
        lambda *values: body(with_names(lookup, dict(zip(names, values, strict=True))))
    )


def call(name: str, arguments: list[Expression]) -> Expression:
    """Returns ``name(arguments)``."""
    return lambda lookup: lookup(f"{name}()")(*(argument(lookup) for argument in arguments))
