"""A parser for the part of Bicep that infra/ uses."""

from pathlib import Path

from tests.infra.bicep_expressions import (
    OPERATORS,
    Expression,
    ObjectExpression,
    Statement,
    binary,
    both,
    call,
    coalesce,
    constant,
    either,
    function,
    join,
    loop_scopes,
    member,
)
from tests.infra.bicep_tokens import BicepError, Token, tokens_of


def parse(path: Path) -> list[Statement]:
    """Returns the declarations of a .bicep or .bicepparam file, without its types."""
    return _Parser(tokens_of(path.read_text()), path.name).statements()


class _Parser:
    def __init__(self, tokens: list[Token], where: str) -> None:
        self._tokens = [*tokens, Token("end", "", tokens[-1].line if tokens else 0)]
        self._at = 0
        self._where = where

    def _peek(self, *values: str) -> bool:
        token = self._tokens[self._at]
        return token.kind != "string" and token.value in values

    def _take(self, *values: str) -> Token:
        token = self._tokens[self._at]
        if values and not self._peek(*values):
            raise BicepError(f"{self._where}:{token.line}: {token.value!r} instead of {values}")
        self._at += 1
        return token

    def _try(self, *values: str) -> bool:
        if self._peek(*values):
            self._at += 1
            return True
        return False

    def _newlines(self) -> None:
        while self._try("\n", ","):
            pass

    def statements(self) -> list[Statement]:
        found = []
        self._newlines()
        while self._tokens[self._at].kind != "end":
            if statement := self._statement():
                found.append(statement)
            self._newlines()
        return found

    def _statement(self) -> Statement | None:
        while self._try("@"):
            self._expression()
            self._newlines()
        kind = self._take().value
        if kind in ("targetScope", "type"):
            self._skip_type(to_the_end=True)
            return None
        if kind == "using":
            return Statement(kind, "", source=self._text())
        if kind == "import":
            return self._import()
        statement = Statement(kind, self._take().value)
        if kind in ("resource", "module"):
            self._deployment(statement)
            return statement
        statement.nullable = self._skip_type()
        if self._try("="):
            statement.value = self._expression()
        return statement

    def _import(self) -> Statement:
        self._take("{")
        names = []
        while not self._try("}"):
            names.append(self._take().value)
            self._newlines()
        self._take("from")
        return Statement("import", "", source=self._text(), names=names)

    def _deployment(self, statement: Statement) -> None:
        statement.source = self._text()
        statement.existing = self._try("existing")
        self._take("=")
        looped = self._try("[")
        if looped:
            statement.loop = self._loop()
        if self._try("if"):
            statement.condition = self._primary()
        statement.value = self._primary()
        if looped:
            self._newlines()
            self._take("]")

    def _loop(self) -> tuple[list[str], Expression]:
        self._newlines()
        self._take("for")
        names = [self._take().value]
        if names == ["("]:
            names = [self._take().value]
            self._take(",")
            names.append(self._take().value)
            self._take(")")
        self._take("in")
        source = self._expression()
        self._take(":")
        return names, source

    def _skip_type(self, to_the_end: bool = False) -> bool:
        """Passes over a type; says whether null is allowed."""
        depth, last = 0, ""
        while self._tokens[self._at].kind != "end":
            if not depth and (self._peek("=") and not to_the_end):
                break
            if not depth and self._peek("\n"):
                following = self._tokens[self._at + 1]
                if following.kind == "string" or following.value != "|":
                    break
            token = self._take()
            depth += 0 if token.kind == "string" else "{[(".count(token.value[:1] or "-")
            depth -= 0 if token.kind == "string" else "}])".count(token.value[:1] or "-")
            last = token.value
        return last == "?"

    def _text(self) -> str:
        return str(self._take().value[-1])

    def _expression(self) -> Expression:
        condition = self._coalesce()
        before = self._at
        self._newlines()
        if not self._try("?"):
            self._at = before
            return condition
        self._newlines()
        yes = self._expression()
        self._newlines()
        self._take(":")
        self._newlines()
        no = self._expression()
        return lambda lookup: yes(lookup) if condition(lookup) else no(lookup)

    def _coalesce(self) -> Expression:
        left = self._either()
        while self._try("??"):
            left = coalesce(left, self._either())
        return left

    def _either(self) -> Expression:
        left = self._both()
        while self._try("||"):
            left = either(left, self._both())
        return left

    def _both(self) -> Expression:
        left = self._binary(0)
        while self._try("&&"):
            left = both(left, self._binary(0))
        return left

    def _binary(self, level: int) -> Expression:
        if level == len(OPERATORS):
            return self._unary()
        left = self._binary(level + 1)
        while self._peek(*OPERATORS[level]):
            operator = OPERATORS[level][self._take().value]
            left = binary(operator, left, self._binary(level + 1))
        return left

    def _unary(self) -> Expression:
        if self._try("!"):
            operand = self._unary()
            return lambda lookup: not operand(lookup)
        if self._try("-"):
            number = self._unary()
            return lambda lookup: -number(lookup)
        found = self._primary()
        while self._peek(".", ".?", "[", "::", "!"):
            operator = self._take().value
            if operator == "!":
                continue
            if operator == "[":
                found = member(found, self._expression(), False)
                self._take("]")
            else:
                found = member(found, constant(self._take().value), operator == ".?")
        return found

    def _primary(self) -> Expression:
        token = self._take()
        if token.kind == "string":
            return self._interpolated(token.value)
        if token.kind == "int":
            return constant(int(token.value))
        if token.value == "(":
            return self._parenthesis()
        if token.value == "[":
            return self._array()
        if token.value == "{":
            return self._object()
        if token.value in ("true", "false", "null"):
            return constant({"true": True, "false": False, "null": None}[token.value])
        if token.kind != "name":
            raise BicepError(f"{self._where}:{token.line}: unexpected {token.value!r}")
        if self._try("=>"):
            return function([token.value], self._expression())
        if self._try("("):
            return call(token.value, self._list(")"))
        return lambda lookup: lookup(token.value)

    def _parenthesis(self) -> Expression:
        items = self._list(")")
        if self._try("=>"):
            names = [item(lambda name: name) for item in items]
            return function(names, self._expression())
        return items[0]

    def _list(self, end: str) -> list[Expression]:
        items = []
        self._newlines()
        while not self._try(end):
            items.append(self._expression())
            self._newlines()
        return items

    def _array(self) -> Expression:
        self._newlines()
        if self._peek("for"):
            names, source = self._loop()
            value = self._expression()
            self._newlines()
            self._take("]")
            return lambda lookup: [
                value(scope) for scope in loop_scopes(names, source(lookup), lookup)
            ]
        items = self._list("]")
        return lambda lookup: [item(lookup) for item in items]

    def _object(self) -> ObjectExpression:
        found = ObjectExpression()
        self._newlines()
        while not self._try("}"):
            if self._peek("resource", "@") and self._tokens[self._at + 1].kind == "name":
                child = self._statement()
                if child:
                    found.children[child.name] = child
            elif self._try("..."):
                found.properties.append((None, self._expression()))
            else:
                token = self._take()
                key = token.value
                name = self._interpolated(key) if token.kind == "string" else constant(key)
                self._take(":")
                found.properties.append((name, self._expression()))
            self._newlines()
        return found

    def _interpolated(self, parts: list[str | list[Token]]) -> Expression:
        values = [
            constant(part) if isinstance(part, str) else _Parser(part, self._where)._expression()
            for part in parts
        ]
        return join(values)
