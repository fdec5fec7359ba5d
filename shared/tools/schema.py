"""The arguments of a tool: their model, their check, and their JSON Schema."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_args, get_type_hints

import docstring_parser
from docstring_parser import Docstring
from pydantic import BaseModel, ConfigDict, ValidationError, create_model, model_validator
from pydantic.fields import FieldInfo

from shared.errors import InvalidRequest, shorten
from shared.strict_json import as_integer


class ToolArguments(BaseModel):
    """Base of every tool's arguments.

    They follow the JSON Schema strictly: no unknown names, no text for numbers, and no NaN, which
    Python reads but JSON does not have. 2.0 is an integer, as in JSON Schema.
    """

    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )

    @model_validator(mode="before")
    @classmethod
    def _read_integers(cls, arguments: Any) -> Any:
        if not isinstance(arguments, Mapping):
            return arguments
        return {name: as_integer(value) for name, value in arguments.items()}


def make_arguments_model(
    handler: Callable[..., Any], documentation: Docstring
) -> type[ToolArguments]:
    """Returns the model of a method's parameters.

    Args:
        handler: The method. Its parameter ``context`` is no argument; ``**options: Unpack[Options]``
            stands for the keys of that TypedDict, which are optional and described in its docstring.
        documentation: Its docstring, which describes every other argument.

    Raises:
        TypeError: It does not.
    """
    fields: dict[str, Any] = {}
    hints = get_type_hints(handler, include_extras=True)
    for name, parameter in inspect.signature(handler).parameters.items():
        if name == "context":
            continue
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            [options] = get_args(hints[name])
            described = parse_docstring(options)
            for option, hint in get_type_hints(options, include_extras=True).items():
                fields[option] = _field(options, described, option, hint, None)
        else:
            required = parameter.default is inspect.Parameter.empty
            default = ... if required else parameter.default
            fields[name] = _field(handler, documentation, name, hints[name], default)
    model_name = handler.__name__.title().replace("_", "") + "Arguments"
    return create_model(model_name, __base__=ToolArguments, **fields)


def parse_docstring(described: object) -> Docstring:
    """Returns the Google-style docstring of a method or a class."""
    return docstring_parser.parse(described.__doc__ or "", docstring_parser.DocstringStyle.GOOGLE)


def _field(
    owner: Any, documentation: Docstring, name: str, hint: Any, default: Any
) -> tuple[Any, FieldInfo]:
    descriptions = {param.arg_name: param.description for param in documentation.params}
    if name not in descriptions:
        raise TypeError(f"{owner.__qualname__}: the docstring does not describe '{name}'")
    info = FieldInfo.from_annotated_attribute(hint, default)
    info.description = " ".join((descriptions[name] or "").split())
    return info.annotation, info


def invalid_arguments(error: ValidationError) -> InvalidRequest:
    """Returns the error for arguments that do not fit their model; it names each field."""
    complaints = shorten(
        error.errors(include_url=False, include_context=False, include_input=False)
    )
    sentences = [
        f"{'.'.join(str(step) for step in complaint['loc']) or 'arguments'}: {complaint['msg']}"
        for complaint in complaints
    ]
    errors = [{**complaint, "loc": ("body", *complaint["loc"])} for complaint in complaints]
    return InvalidRequest("Invalid arguments. " + "; ".join(sentences), errors)


def tidy(schema: Any) -> Any:
    """Returns a schema of pydantic's, shortened: every model call pays for each byte of it.

    Titles repeat the names of fields. Null is left out of optional fields, because some clients fail on
    the alternative; it is still accepted.

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
