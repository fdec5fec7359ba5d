"""What a tool's method says of its arguments and its result: models, checks, and JSON Schemas."""

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from pydantic import (
    BaseModel,
    ConfigDict,
    TypeAdapter,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic.fields import FieldInfo

from shared.errors import InvalidRequest, complaints_of, shorten
from shared.strict_json import as_integer

if TYPE_CHECKING:
    from docstring_parser import Docstring


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


@dataclass(frozen=True, slots=True)
class ToolSignature:
    """What follows from the signature and the docstring of a tool's method.

    Attributes:
        description: The description for models and people.
        arguments_model: The pydantic model of the arguments.
        result_type: The type of the result.
        result: Makes a JSON object of a result.
        input_schema: JSON Schema of the arguments.
        output_schema: JSON Schema of the result.
    """

    description: str
    arguments_model: type[ToolArguments]
    result_type: Any
    result: TypeAdapter[Any]
    input_schema: dict[str, Any]
    output_schema: dict[str, Any]


@cache
def signature_of(method: Callable[..., Any]) -> ToolSignature:
    """Returns what follows from the signature and the docstring of a method.

    Args:
        method: The method, not bound. Its parameter ``context`` is no argument;
            ``**options: Unpack[Options]`` stands for the keys of that TypedDict, which are optional and
            described in its docstring. The docstring describes every other argument.

    Raises:
        TypeError: The method lacks an annotation or a described parameter.
    """
    documentation = _parse_docstring(method)
    hints = get_type_hints(method, include_extras=True)
    model = _arguments_model(method, documentation, hints)
    result: TypeAdapter[Any] = TypeAdapter(hints["return"])
    return ToolSignature(
        description=(documentation.description or "").strip(),
        arguments_model=model,
        result_type=hints["return"],
        result=result,
        input_schema=_compact(_tidy(model.model_json_schema()), is_result=False),
        output_schema=_compact(_tidy(result.json_schema(mode="serialization")), is_result=True),
    )


def _arguments_model(
    method: Callable[..., Any], documentation: "Docstring", hints: Mapping[str, Any]
) -> type[ToolArguments]:
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(method).parameters.items():
        if name in ("self", "context"):
            continue
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            [options] = get_args(hints[name])
            described = _parse_docstring(options)
            for option, hint in get_type_hints(options, include_extras=True).items():
                fields[option] = _field(options, described, option, hint, None)
        else:
            required = parameter.default is inspect.Parameter.empty
            default = ... if required else parameter.default
            fields[name] = _field(method, documentation, name, hints[name], default)
    model_name = method.__name__.title().replace("_", "") + "Arguments"
    return create_model(model_name, __base__=ToolArguments, **fields)


def _parse_docstring(described: object) -> "Docstring":
    # The package's own function would load all styles.
    from docstring_parser import google

    return google.parse(described.__doc__ or "")


def _field(
    owner: Any, documentation: "Docstring", name: str, hint: Any, default: Any
) -> tuple[Any, FieldInfo]:
    descriptions = {param.arg_name: param.description for param in documentation.params}
    if name not in descriptions:
        raise TypeError(f"{owner.__qualname__}: the docstring does not describe '{name}'")
    info = FieldInfo.from_annotated_attribute(hint, default)
    info.description = " ".join((descriptions[name] or "").split())
    return info.annotation, info


def invalid_arguments(error: ValidationError) -> InvalidRequest:
    """Returns the error for arguments that do not fit their model; it names each field."""
    complaints = shorten(complaints_of(error))
    sentences = [
        f"{'.'.join(str(step) for step in complaint['loc']) or 'arguments'}: {complaint['msg']}"
        for complaint in complaints
    ]
    errors = [{**complaint, "loc": ("body", *complaint["loc"])} for complaint in complaints]
    return InvalidRequest("Invalid arguments. " + "; ".join(sentences), errors)


def _tidy(schema: Any) -> Any:
    """Returns a schema of pydantic's, shortened: every model call pays for each byte of it.

    Titles repeat the names of fields. Null is left out of optional fields, because some clients fail on
    the alternative; it is still accepted.

    Args:
        schema: A schema, or a part of one.
    """
    if isinstance(schema, list):
        return [_tidy(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    tidied: dict[str, Any] = {}
    for key, value in _without_null_default(schema).items():
        if key in ("properties", "$defs"):
            tidied[key] = {name: _tidy(item) for name, item in value.items()}
        elif key in ("default", "enum", "const"):
            tidied[key] = value
        elif key != "title":
            tidied[key] = _tidy(value)
    return tidied


_TEXT_RULES = ("minLength", "maxLength", "pattern")


def _compact(schema: Mapping[str, Any], *, is_result: bool) -> dict[str, Any]:
    """Returns a tidied schema in a short form: clients send it to their model with every request.

    Definitions stand where they are used, a value or null is one list of types, and what allows
    anything is left out. Descriptions of definitions are docstrings for who reads the code. Rules
    for texts, which strict modes of clients refuse, are checked all the same.

    Args:
        schema: The schema of an object, without recursion.
        is_result: Whether it is that of a result: descriptions are left out, and what is always
            there; of objects that may be null or absent, or that occur several times, it says no
            more than that they are objects.
    """
    definitions = schema.get("$defs", {})
    uses = Counter(_references(schema))
    left_out = {"$defs", *_TEXT_RULES, *(("description", "required") if is_result else ())}

    def resolve(part: dict[str, Any]) -> dict[str, Any]:
        name = part["$ref"].rpartition("/")[2]
        target = definitions[name]
        if is_result and uses[name] > 1:
            return {"type": target["type"]}
        kept = {key: value for key, value in target.items() if key != "description"}
        return {**kept, **{key: value for key, value in part.items() if key != "$ref"}}

    def shorten_part(part: Any) -> Any:
        if isinstance(part, list):
            return [shorten_part(item) for item in part]
        if not isinstance(part, dict):
            return part
        if "$ref" in part:
            part = resolve(part)
        shortened: dict[str, Any] = {}
        for key, value in part.items():
            if key == "properties":
                optional = value.keys() - part.get("required", ()) if is_result else ()
                shortened[key] = {
                    name: {"type": "object"}
                    if name in optional and "$ref" in item
                    else shorten_part(item)
                    for name, item in value.items()
                }
            elif key in ("default", "enum", "const"):
                shortened[key] = value
            elif key not in left_out:
                shortened[key] = shorten_part(value)
        return _shorten_types(shortened, is_result)

    result: dict[str, Any] = shorten_part(schema)
    result.pop("description", None)
    return result


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, list):
        for item in part:
            yield from _references(item)
    elif isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"].rpartition("/")[2]
        for value in part.values():
            yield from _references(value)


def _shorten_types(schema: dict[str, Any], is_result: bool) -> dict[str, Any]:
    if schema.get("additionalProperties") == {}:
        del schema["additionalProperties"]
    if is_result and "enum" in schema:
        schema.pop("type", None)
    options = schema.get("anyOf", [])
    others = [option for option in options if option != {"type": "null"}]
    if len(options) != 2 or len(others) != 1 or not isinstance(others[0].get("type"), str):
        return schema
    if is_result and others[0]["type"] == "object":
        return {"type": ["object", "null"]}
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**others[0], **rest, "type": [others[0]["type"], "null"]}


def _without_null_default(schema: dict[str, Any]) -> dict[str, Any]:
    if "default" not in schema or schema["default"] is not None:
        return schema
    rest = {key: value for key, value in schema.items() if key not in ("default", "anyOf")}
    options = [option for option in schema.get("anyOf", []) if option != {"type": "null"}]
    if len(options) == 1:
        return {**options[0], **rest}
    return {**rest, "anyOf": options} if options else rest
