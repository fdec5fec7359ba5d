"""Expands the templates of infra/ into the resources that they deploy with given parameters.

It stands in for `az bicep build` and ARM where there is neither: it evaluates conditions, loops and
modules, and refuses a reference to what is not deployed, and a name, condition or loop that what-if
could not know beforehand. It knows no types and no schemas.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.infra.bicep_expressions import (
    Lookup,
    ObjectExpression,
    Reference,
    Statement,
    loop_scopes,
    with_names,
)
from tests.infra.bicep_functions import FUNCTIONS, GROUP
from tests.infra.bicep_syntax import parse
from tests.infra.bicep_tokens import BicepError

_parse = cache(parse)


@dataclass
class Resource:
    """A resource.

    Attributes:
        name: Its name, with its parents' names before it.
        deployed: Whether the template deploys it: it is not ``existing``, and its condition holds.
    """

    type: str
    version: str
    name: str
    id: str
    deployed: bool
    absent: bool
    expression: ObjectExpression
    lookup: Lookup

    def member(self, name: str) -> Any:
        """Returns a property, or a child that is declared in it."""
        if name in self.expression.children:
            return _resource(self.expression.children[name], self.lookup, self)
        if self.absent:
            raise BicepError(f"{self.id} is referred to, and not deployed")
        if name in ("id", "name", "type"):
            return {"id": self.id, "name": self.name.split("/")[-1], "type": self.type}[name]
        return Reference(f"{self.id}.{name}")

    def body(self) -> dict[str, Any]:
        """Returns the evaluated declaration, ``parent``, ``scope`` and ``dependsOn`` included."""
        return self.expression(self.lookup)

    def resources(self) -> Iterator["Resource"]:
        """Yields it and the children in it, where they are deployed."""
        if self.deployed:
            yield self
        if not self.absent:
            for child in self.expression.children.values():
                yield from _resource(child, self.lookup, self).resources()


class Template:
    """A .bicep file with parameters; a module too.

    Args:
        path: The file.
        parameters: Those that are given.
    """

    def __init__(self, path: Path, parameters: Mapping[str, Any]) -> None:
        self._path = path
        self._values: dict[str, Any] = dict(parameters)
        statements = _parse(path)
        self._named = {each.name: each for each in statements if each.kind != "output"}
        self._outputs = {each.name: each for each in statements if each.kind == "output"}
        self._imports = {
            name: path.parent / each.source
            for each in statements
            if each.kind == "import"
            for name in each.names
        }
        known = {each.name: each for each in statements if each.kind == "param"}
        if unknown := set(parameters) - set(known):
            raise BicepError(f"{path.name} has no parameters {sorted(unknown)}")
        for name, each in known.items():
            if name not in parameters and each.value is None and not each.nullable:
                raise BicepError(f"{path.name} needs the parameter {name}")

    def value(self, name: str) -> Any:
        """Returns what a name or, with parentheses behind it, a function stands for."""
        if name.endswith("()"):
            return FUNCTIONS[name[:-2]]
        if name not in self._values:
            if name in self._imports:
                self._values[name] = Template(self._imports[name], {}).value(name)
            elif name in self._named:
                self._values[name] = self._evaluate(self._named[name])
            else:
                raise BicepError(f"{self._path.name}: {name} is not declared")
        return self._values[name]

    def _evaluate(self, statement: Statement) -> Any:
        if statement.kind == "resource":
            return _deployments(statement, self.value, _resource)
        if statement.kind == "module":
            return _deployments(statement, self.value, self._module)
        return statement.value(self.value) if statement.value else None

    def _module(self, statement: Statement, lookup: Lookup) -> "Module":
        assert isinstance(statement.value, ObjectExpression)
        if not _holds(statement, lookup):
            return Module(statement.name, None)
        given = statement.value(lookup).get("params", {})
        return Module(statement.name, Template(self._path.parent / statement.source, given))

    def outputs(self) -> dict[str, Any]:
        """Returns the evaluated outputs."""
        return {name: self.output(name) for name in self._outputs}

    def output(self, name: str) -> Any:
        """Returns one output."""
        expression = self._outputs[name].value
        assert expression
        return expression(self.value)

    def resources(self) -> Iterator[Resource]:
        """Yields all resources that are deployed, those of modules too."""
        for name, statement in self._named.items():
            if statement.kind in ("resource", "module"):
                found = self.value(name)
                for each in found if isinstance(found, list) else [found]:
                    yield from each.resources()


@dataclass
class Module:
    """A module; without a template where its condition does not hold."""

    name: str
    template: Template | None

    def member(self, name: str) -> Any:
        """Returns its outputs."""
        if self.template is None:
            raise BicepError(f"The module {self.name} is referred to, and not deployed")
        return self if name == "outputs" else _later(self.template.output(name))

    def resources(self) -> Iterator[Resource]:
        """Yields the resources in it."""
        if self.template:
            yield from self.template.resources()


def _later(value: Any) -> Any:
    """Returns an output: Azure knows it only once the module is deployed, whatever it is made of."""
    if isinstance(value, list):
        return [_later(each) for each in value]
    return Reference(value) if isinstance(value, str) else value


def parameters_of(path: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """Returns the parameters that a .bicepparam file gives."""
    statements = {each.name: each for each in _parse(path) if each.kind in ("param", "var")}

    def lookup(name: str) -> Any:
        if name == "readEnvironmentVariable()":
            return lambda variable, default: environment.get(variable, default)
        if name.endswith("()"):
            return FUNCTIONS[name[:-2]]
        value = statements[name].value
        assert value
        return value(lookup)

    return {name: lookup(name) for name, each in statements.items() if each.kind == "param"}


def _deployments(
    statement: Statement, lookup: Lookup, make: Callable[[Statement, Lookup], Any]
) -> Any:
    if statement.loop:
        names, source = statement.loop
        items = _known_beforehand(source(lookup), statement)
        return [make(statement, scope) for scope in loop_scopes(names, items, lookup)]
    return make(statement, lookup)


def _holds(statement: Statement, lookup: Lookup) -> bool:
    condition = statement.condition
    if not condition:
        return True
    return bool(condition(lambda name: _known_beforehand(lookup(name), statement)))


def _known_beforehand(value: Any, statement: Statement) -> Any:
    """Returns a value that what-if knows, as the linter's rule what-if-short-circuiting demands."""
    if isinstance(value, Reference):
        raise BicepError(f"{statement.name} depends on {value}, which no preview knows")
    if isinstance(value, (list, dict)):
        for each in value.values() if isinstance(value, dict) else value:
            _known_beforehand(each, statement)
    return value


def _resource(statement: Statement, lookup: Lookup, parent: Resource | None = None) -> Resource:
    expression = statement.value
    assert isinstance(expression, ObjectExpression)
    identity = ObjectExpression()
    identity.properties = [
        (key, value)
        for key, value in expression.properties
        if key and key(lookup) in ("name", "parent", "scope")
    ]
    # A child sees its siblings and its parent's children by their own names.
    scope = with_names(lookup, {}) if not parent else _siblings(lookup, parent)
    found = identity(scope)
    parent = parent or found.get("parent")
    kind, _, version = statement.source.partition("@")
    name = _known_beforehand(found["name"], statement)
    if parent:
        kind = kind if "/" in kind else f"{parent.type}/{kind}"
        name, version = f"{parent.name}/{name}", version or parent.version
    absent = not _holds(statement, lookup) or bool(parent and parent.absent)
    provider, *types = kind.split("/")
    path = "/".join(f"{a}/{b}" for a, b in zip(types, name.split("/"), strict=True))
    base = found["scope"] if isinstance(found.get("scope"), str) else GROUP
    if isinstance(found.get("scope"), Resource):
        base = found["scope"].member("id")
    return Resource(
        kind,
        version,
        name,
        f"{base}/providers/{provider}/{path}",
        deployed=not absent and not statement.existing,
        absent=absent,
        expression=expression,
        lookup=scope,
    )


def _siblings(lookup: Lookup, parent: Resource) -> Lookup:
    def value(name: str) -> Any:
        if name in parent.expression.children:
            return _resource(parent.expression.children[name], lookup, parent)
        return lookup(name)

    return value
