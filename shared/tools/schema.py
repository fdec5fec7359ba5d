"""JSON Schemas as short and plain as their readers want them: every model call pays for each byte."""

from typing import Any


def tidy(schema: Any) -> Any:
    """Returns a schema of pydantic's without what only says the same again.

    Titles repeat the names of fields. An optional field need not allow null: leaving it out says the
    same, and some clients stumble over the alternative. Null is still accepted when it comes.

    Args:
        schema: A schema, or a part of one.
    """
    if isinstance(schema, list):
        return [tidy(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    tidied: dict[str, Any] = {}
    for key, value in _without_null_default(schema).items():
        if key in ("properties", "$defs"):
            tidied[key] = {name: tidy(item) for name, item in value.items()}
        elif key in ("default", "enum", "const"):
            tidied[key] = value
        elif key != "title":
            tidied[key] = tidy(value)
    return tidied


def _without_null_default(schema: dict[str, Any]) -> dict[str, Any]:
    if "default" not in schema or schema["default"] is not None:
        return schema
    rest = {key: value for key, value in schema.items() if key not in ("default", "anyOf")}
    options = [option for option in schema.get("anyOf", []) if option != {"type": "null"}]
    if len(options) == 1:
        return {**options[0], **rest}
    return {**rest, "anyOf": options} if options else rest
