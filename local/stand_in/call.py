"""One request of OpenAI's API as the stand-in's routes get it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from local.stand_in.faults import Fault

Parameters = TypeVar("Parameters", bound=BaseModel)

_FORM_TYPES = ("multipart/form-data", "application/x-www-form-urlencoded")


class Refusal(Exception):
    """The stand-in answers with an error of its own accord, in OpenAI's format.

    Attributes:
        message: What is wrong, as OpenAI words it.
        status: The HTTP status.
        code: The error's code.
        param: The parameter that is wrong.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        code: str | None = "invalid_value",
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.param = param


@dataclass(frozen=True)
class Upload:
    """A file of a multipart body."""

    field: str
    filename: str | None
    content_type: str | None
    data: bytes


@dataclass(frozen=True)
class Body:
    """A decoded body.

    Attributes:
        fields: The JSON value, or the text fields of a form; None without a body.
        uploads: The files of a form.
    """

    fields: Any = None
    uploads: Sequence[Upload] = field(default_factory=list)

    @classmethod
    async def of(cls, request: Request) -> "Body":
        """Reads and decodes the body of a request.

        Raises:
            Refusal: It is not what its content type says.
        """
        if request.headers.get("content-type", "").startswith(_FORM_TYPES):
            return await cls._of_form(request)
        raw = await request.body()
        try:
            return cls(json.loads(raw) if raw else None)
        except ValueError as error:
            raise Refusal("We could not parse the JSON body of your request.") from error

    @classmethod
    async def _of_form(cls, request: Request) -> "Body":
        fields: dict[str, Any] = {}
        uploads = []
        try:
            async with request.form() as form:
                for name, value in form.multi_items():
                    if isinstance(value, UploadFile):
                        data = await value.read()
                        uploads.append(Upload(name, value.filename, value.content_type, data))
                    else:
                        _put(fields, name, value)
        except HTTPException as error:
            raise Refusal(f"We could not parse the form in your request: {error.detail}") from error
        return cls(fields, uploads)

    def record(self) -> Any:
        """Returns what `GET /requests` shows of it: for files their sizes."""
        if not self.uploads:
            return self.fields
        record = dict(self.fields)
        for upload in self.uploads:
            seen = {
                "filename": upload.filename,
                "content_type": upload.content_type,
                "size": len(upload.data),
            }
            _put(record, upload.field, seen)
        return record


@dataclass(frozen=True)
class Call:
    """A request, its body, and what is to go wrong."""

    request: Request
    body: Body
    fault: Fault

    def parse(self, parameters: type[Parameters]) -> Parameters:
        """Returns the fields of the body, checked.

        Raises:
            Refusal: One is missing or has a value that it may not have.
        """
        fields = self.body.fields
        if not isinstance(fields, Mapping) or not fields.get("model"):
            raise Refusal("You must provide a model parameter.", param="model")
        try:
            return parameters.model_validate(fields)
        except ValidationError as error:
            raise _refusal(error) from error

    def uploads(self, *names: str) -> list[Upload]:
        """Returns the files in the form's fields of these names.

        Raises:
            Refusal: One is empty.
        """
        found = [upload for upload in self.body.uploads if upload.field in names]
        for upload in found:
            if not upload.data:
                raise Refusal(f"Invalid '{upload.field}': the file is empty.", param=upload.field)
        return found


def missing(name: str) -> Refusal:
    """Returns the refusal of a request without a parameter that it must have."""
    message = f"Missing required parameter: '{name}'."
    return Refusal(message, code="missing_required_parameter", param=name)


def _put(fields: dict[str, Any], name: str, value: Any) -> None:
    if name not in fields:
        fields[name] = value
    elif isinstance(fields[name], list):
        fields[name].append(value)
    else:
        fields[name] = [fields[name], value]


def _refusal(error: ValidationError) -> Refusal:
    problem = error.errors()[0]
    name = str(problem["loc"][0])
    if problem["type"] == "missing":
        return missing(name)
    reason = problem["msg"].removeprefix("Value error, ")
    return Refusal(f"Invalid '{name}': {reason}.", param=name)
