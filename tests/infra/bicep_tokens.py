"""Tokens of Bicep."""

import re
from dataclasses import dataclass
from typing import Any

_TOKEN = re.compile(
    r"(?P<skip>[ \t]+|//[^\n]*)|(?P<newline>\n)|(?P<int>\d+)|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<op>=>|\.\.\.|\.\?|::|==|!=|<=|>=|&&|\|\||\?\?|[-+*/<>!?:=.,@|(){}\[\]])"
)


class BicepError(Exception):
    """A file does not parse, or refers to what is not deployed."""


@dataclass(frozen=True)
class Token:
    """A token; the value of a string is its parts, texts and the tokens of expressions."""

    kind: str
    value: Any
    line: int


def tokens_of(text: str) -> list[Token]:
    """Returns the tokens of a file."""
    return _scan(text, 0, "")[0]


def _scan(text: str, position: int, end: str) -> tuple[list[Token], int]:
    tokens: list[Token] = []
    depth = 0
    while position < len(text):
        line = text.count("\n", 0, position) + 1
        if text[position] == "}" and end == "}" and not depth:
            return tokens, position + 1
        if text[position] == "'":
            parts, position = _string(text, position + 1)
            tokens.append(Token("string", parts, line))
            continue
        match = _TOKEN.match(text, position)
        if not match:
            raise BicepError(f"line {line}: unknown text {text[position : position + 20]!r}")
        kind = str(match.lastgroup)
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        position = match.end()
        if kind != "skip":
            tokens.append(Token(kind, match[0], line))
    return tokens, position


def _string(text: str, position: int) -> tuple[list[str | list[Token]], int]:
    parts: list[str | list[Token]] = []
    literal = ""
    while text[position] != "'":
        if text.startswith("${", position):
            inner, position = _scan(text, position + 2, "}")
            parts += [literal, inner]
            literal = ""
        elif text[position] == "\\":
            literal += {"n": "\n", "t": "\t"}.get(text[position + 1], text[position + 1])
            position += 2
        else:
            literal += text[position]
            position += 1
    return [*parts, literal], position + 1
