"""Expands the template expressions of Azure Pipelines that this project uses, as the service does.

Known are ``if``, ``elseif``, ``else`` and ``each`` as keys, and expressions of ``eq``, ``ne``, ``and``,
``or``, ``not`` and ``containsValue`` over parameters, variables and the names that ``each`` gives.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).parent.parent.parent

_WHOLE = re.compile(r"\$\{\{\s*(.+?)\s*\}\}")
_TOKEN = re.compile(r"\s*('(?:[^']|'')*'|-?\d+|[A-Za-z_][\w.]*|[(),\[\]])")
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "and": lambda *all_: all(all_),
    "or": lambda *all_: any(all_),
    "not": lambda a: not a,
    "containsValue": lambda values, value: value in values,
}


class PipelineError(Exception):
    """Raised for an expression that the service would refuse, or that this module does not know."""


def expand(path: str, variables: Mapping[str, str], **given: Any) -> Any:
    """Returns a pipeline or template as it is run, with all templates in place.

    Args:
        path: Its file, relative to the project.
        variables: What is known of the run when it is queued.
        given: Its parameters; the others have their default.
    """
    document = yaml.safe_load((PROJECT / path).read_text())
    parameters = {
        each["name"]: given.pop(each["name"], each.get("default"))
        for each in document.pop("parameters", [])
    }
    if given:
        raise PipelineError(f"{path} has no parameter {', '.join(given)}")
    missing = [name for name, value in parameters.items() if value is None]
    if missing:
        raise PipelineError(f"{path} needs {', '.join(missing)}")
    scope = {"parameters": parameters, "variables": variables}
    return _templates(_expand(document, scope), variables)


def _templates(node: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(node, list):
        found: list[Any] = []
        for item in node:
            if isinstance(item, dict) and "template" in item:
                (steps,) = expand(
                    item["template"], variables, **item.get("parameters", {})
                ).values()
                found += steps
            else:
                found.append(_templates(item, variables))
        return found
    if isinstance(node, dict):
        return {key: _templates(value, variables) for key, value in node.items()}
    return node


def _expand(node: Any, scope: Mapping[str, Any]) -> Any:
    if isinstance(node, list):
        return _expand_list(node, scope)
    if isinstance(node, dict):
        found: dict[str, Any] = {}
        for value in _chosen(node, scope):
            found |= value
        return found
    if isinstance(node, str):
        if whole := _WHOLE.fullmatch(node):
            return _evaluate(whole[1], scope)
        return _WHOLE.sub(lambda match: str(_evaluate(match[1], scope)), node)
    return node


def _expand_list(items: list[Any], scope: Mapping[str, Any]) -> list[Any]:
    found: list[Any] = []
    chosen = False
    for item in items:
        directive = _directive(item)
        if directive is None:
            found.append(_expand(item, scope))
            continue
        kind, expression = directive
        (value,) = item.values()
        if kind == "each":
            name, _, values = expression.partition(" in ")
            for each in _evaluate(values, scope):
                found += _expand_list(value, {**scope, name.strip(): each})
            continue
        if kind == "if":
            chosen = False
        if not chosen and (kind == "else" or _evaluate(expression, scope)):
            chosen = True
            found += _expand_list(value, scope)
    return found


def _chosen(node: Mapping[str, Any], scope: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    chosen = False
    for key, value in node.items():
        directive = _directive({key: value})
        if directive is None:
            found.append({_expand(key, scope): _expand(value, scope)})
            continue
        kind, expression = directive
        if kind == "if":
            chosen = False
        if not chosen and (kind == "else" or _evaluate(expression, scope)):
            chosen = True
            found.append(_expand(value, scope))
    return found


def _directive(item: Any) -> tuple[str, str] | None:
    if (
        isinstance(item, dict)
        and len(item) == 1
        and (whole := _WHOLE.fullmatch(str(next(iter(item)))))
    ):
        kind, _, expression = whole[1].partition(" ")
        if kind in ("if", "elseif", "else", "each"):
            return kind, expression
    return None


def _evaluate(expression: str, scope: Mapping[str, Any]) -> Any:
    tokens = _TOKEN.findall(expression)
    if "".join(tokens) != re.sub(r"\s+(?=(?:[^']*'[^']*')*[^']*$)", "", expression):
        raise PipelineError(f"unknown expression {expression}")
    value, rest = _parse(tokens, scope)
    if rest:
        raise PipelineError(f"{expression} goes on behind its end")
    return value


def _parse(tokens: list[str], scope: Mapping[str, Any]) -> tuple[Any, list[str]]:
    token, *rest = tokens
    if token.startswith("'"):
        return token[1:-1].replace("''", "'"), rest
    if re.fullmatch(r"-?\d+", token):
        return int(token), rest
    if rest[:1] == ["("]:
        arguments = []
        rest = rest[1:]
        while rest[:1] != [")"]:
            argument, rest = _parse(rest[1:] if rest[:1] == [","] else rest, scope)
            arguments.append(argument)
        return _FUNCTIONS[token](*arguments), rest[1:]
    value: Any = scope
    for name in token.split("."):
        value = value[name]
    while rest[:1] == ["["]:
        index, rest = _parse(rest[1:], scope)
        value = value[index]
        rest = rest[1:]
    return value, rest
