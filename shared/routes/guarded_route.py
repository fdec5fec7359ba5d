"""The class of protected routes: who calls, whether they may, and until when they need an answer."""

import re
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Annotated, Any

from fastapi import Depends, Request, Response

from shared.auth import Guard, Principal
from shared.context import DOORS, CallContext
from shared.deadline import Deadline
from shared.disconnect import cancel_on_disconnect
from shared.errors import InvalidRequest, Unauthorized
from shared.routes.body import MAX_BODY_BYTES, CheckedRequest, read_body
from shared.routes.routing import DeferredRoute
from shared.settings import Scope

IDEMPOTENCY_HEADER = "idempotency-key"
_IDEMPOTENCY_KEY = re.compile(r"[\x20-\x7e]{1,255}")

RouteHandler = Callable[[Request], Coroutine[Any, Any, Response]]
DirectAnswer = Callable[[CheckedRequest], Coroutine[Any, Any, Response | None]]
"""Answers a request; returns None where FastAPI has to, such as for the errors that it documents."""


async def authorize(request: Request, guard: Guard, scope: Scope | None) -> Principal:
    """Lets the caller in and notes it in the request's state, for the handler and the log.

    Raises:
        GatewayError: The caller may not come in, as `Guard` says.
    """
    header = _header_of(request)
    caller = await guard.authenticate(header)
    # Noted already, for the log of who was refused.
    request.state.principal = caller
    principal = await guard.authorize(caller, header, scope)
    request.state.principal = principal
    return principal


def _header_of(request: Request) -> Callable[[str], str | None]:
    """Returns what reads a header that may be there once, so that no second one says somebody else."""
    values: dict[bytes, bytes] = {}
    ambiguous: set[bytes] = set()
    for name, value in request.headers.raw:
        if values.setdefault(name, value) != value:
            ambiguous.add(name)

    def read(name: str) -> str | None:
        key = name.encode("latin-1")
        if key in ambiguous:
            raise Unauthorized(
                f"The header {name} is there twice with different values. Send one. "
            )
        value = values.get(key)
        return None if value is None else value.decode("latin-1")

    return read


def guarded(
    guard: Guard,
    scope: Scope | None,
    max_body_bytes: int = MAX_BODY_BYTES,
    answer: DirectAnswer | None = None,
) -> type[DeferredRoute]:
    """Returns a class of routes: no caller gets in without the scope, and each call has its deadline.

    They also stop when the caller disconnects.

    A dependency would come too late: FastAPI reads and decodes the body before it.

    Args:
        guard: The guard that authenticates and authorizes.
        scope: What a caller needs; None where any key will do.
        max_body_bytes: Most bytes of a body.
        answer: Answers in place of FastAPI what it can.
    """
    door = next((each for each in DOORS if each == scope), None)

    class GuardedRoute(DeferredRoute):
        def get_route_handler(self) -> RouteHandler:
            handler = super().get_route_handler()

            async def handle(request: Request) -> Response:
                deadline = request_deadline(request)
                async with deadline.scope():
                    await authorize(request, guard, scope)
                    body = await read_body(request, max_body_bytes)
                call = CallContext(request.state.principal, deadline, door=door)
                request.state.call = call
                async with call.scope(), cancel_on_disconnect(request.receive):
                    checked = CheckedRequest(request, body)
                    response = None if answer is None else await answer(checked)
                    return response or await handler(checked)

            return handle

    return GuardedRoute


async def call_context(request: Request) -> CallContext:
    """Returns the context of the request's call, with its ``Idempotency-Key``."""
    # A coroutine, because FastAPI runs plain functions in threads.
    call: CallContext = request.state.call
    key = request.headers.get(IDEMPOTENCY_HEADER)
    return call if key is None else replace(call, idempotency_key=check_idempotency_key(key))


def check_idempotency_key(key: object) -> str:
    """Returns a key that a caller gave.

    Raises:
        InvalidRequest: It is not 1 to 255 visible characters.
    """
    if isinstance(key, str) and _IDEMPOTENCY_KEY.fullmatch(key):
        return key
    raise InvalidRequest(
        "The idempotency key must be 1 to 255 visible ASCII characters, such as a UUID."
    )


def request_deadline(request: Request) -> Deadline:
    """Returns the deadline that began with the request."""
    deadline: Deadline = request.state.deadline
    return deadline


Context = Annotated[CallContext, Depends(call_context)]
