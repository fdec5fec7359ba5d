"""The guard: authenticates every caller, authorizes every call."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from shared.auth.principal import Principal
from shared.errors import (
    AuthNotConfigured,
    GatewayError,
    InsufficientScope,
    InvalidRequest,
    InvalidToken,
    SigningKeysUnavailable,
    Unauthorized,
)
from shared.settings import ENTRA_PATTERN, PRINCIPAL_PATTERN, Scope

HeaderGetter = Callable[[str], str | None]
"""Returns the value of a header by its name in lower case, None where there is none."""

USER_HEADER = "x-user-id"

NEVER_LENT: frozenset[Scope] = frozenset({"act-as", "admin"})
"""Scopes that a key does not lend to the users for whom it speaks."""


class Authenticator(Protocol):
    """One way to authenticate a caller, such as keys or tokens of an identity provider."""

    async def is_configured(self) -> bool:
        """Returns whether anybody can be let in this way."""
        ...

    async def authenticate(self, header: HeaderGetter) -> Principal | None:
        """Returns the caller, None where the headers hold nothing that this way knows."""
        ...

    async def find_principal(self, name: str) -> Principal | None:
        """Returns the principal of a name, None where this way knows none."""
        ...


class Guard:
    """Lets callers in whom one of the authenticators knows.

    Args:
        authenticators: The ways to authenticate a caller; one that needs no storage to say whether it is
            configured comes first. None at all means that nobody configured any, and nobody is let in.
    """

    def __init__(self, authenticators: Sequence[Authenticator]) -> None:
        self._authenticators = tuple(authenticators)

    async def is_configured(self) -> bool:
        """Returns whether anybody can be let in."""
        for authenticator in self._authenticators:
            try:
                if await authenticator.is_configured():
                    return True
            except GatewayError:
                continue
        return False

    async def authenticate(self, header: HeaderGetter) -> Principal:
        """Returns who is calling, whatever they may do.

        Args:
            header: Reads the request's headers.

        Raises:
            AuthNotConfigured: No way to authenticate a caller is configured.
            SigningKeysUnavailable: There is a token, and it cannot be checked now.
            StorageUnavailable: Nobody can tell now, because stored keys cannot be read.
            Unauthorized: The caller is not known.
        """
        found: list[Principal] = []
        refusal: GatewayError | None = None
        for authenticator in self._authenticators:
            try:
                principal = await authenticator.authenticate(header)
            except (InvalidToken, SigningKeysUnavailable) as error:
                # A key beside the token may let its owner in.
                refusal = error
                continue
            if principal is not None:
                found.append(principal)
        if len(found) > 1:
            raise Unauthorized("This request carries a key and a token: send only one. ")
        if found:
            return found[0]
        if refusal is not None:
            raise refusal
        for authenticator in self._authenticators:
            if await authenticator.is_configured():
                raise Unauthorized(accepts_tokens=len(self._authenticators) > 1)
        raise AuthNotConfigured

    async def knows(self, header: HeaderGetter) -> bool:
        """Returns whether somebody is calling who may be told more than a stranger."""
        try:
            await self.authenticate(header)
        except GatewayError:
            return False
        return True

    async def authorize(
        self, caller: Principal, header: HeaderGetter, scope: Scope | None
    ) -> Principal:
        """Returns the caller, or the user whom the caller may and does speak for.

        Args:
            caller: As `authenticate` returned them.
            header: Reads the request's headers.
            scope: What the caller needs to be allowed; None where any key will do.

        Raises:
            InsufficientScope: The caller lacks the scope, or names a user without ``act-as``.
            InvalidRequest: The ``X-User-Id`` header is malformed.
            StorageUnavailable: Nobody can tell now what the user may do.
        """
        user = header(USER_HEADER)
        if scope is not None:
            caller.require(scope)
        if user is None:
            return caller
        if "act-as" not in caller.scopes:
            raise InsufficientScope(
                "The header X-User-Id needs a key with the scope 'act-as'. Leave it out, or use such a "
                "key.",
                "act-as",
            )
        if scope in NEVER_LENT:
            raise InsufficientScope(
                f"The scope '{scope}' is not lent to users. Leave out the header X-User-Id."
            )
        return await self._speak_for(caller, user, "The header X-User-Id")

    async def impersonate(self, caller: Principal, user: str) -> Principal:
        """Returns the principal of a user whom a route names: the caller, or one they may speak for.

        Raises:
            InsufficientScope: The user is somebody else, and the key may not speak for others or
                speaks for one already.
            InvalidRequest: It is no name.
            StorageUnavailable: Nobody can tell now what the user may do.
        """
        if user == caller.name or (ENTRA_PATTERN.fullmatch(user) and user.lower() == caller.name):
            return caller
        if "act-as" not in caller.scopes:
            raise InsufficientScope(
                f"This request may not speak for '{user}'. Use that user's key, or one with the scope "
                "'act-as' that names no other user in X-User-Id.",
                "act-as",
            )
        return await self._speak_for(caller, user, "The name of a user")

    async def _speak_for(self, caller: Principal, user: str, what: str) -> Principal:
        name = principal_name(user, what)
        if name == caller.name:
            return caller
        principals = [await each.find_principal(name) for each in self._authenticators]
        own = next(filter(None, principals), None)
        return replace(
            caller,
            name=name,
            scopes=caller.scopes - NEVER_LENT,
            spoken_for_by=caller.name,
            models=caller.models + (own.models if own else ()),
            limits=own.limits if own else None,
            speaker_limits=caller.limits,
            display_name=None,
        )


def principal_name(text: str, what: str) -> str:
    """Returns the name of a principal that a request names.

    Args:
        text: The name.
        what: How to call it in a complaint.

    Raises:
        InvalidRequest: It is no name.
    """
    if ENTRA_PATTERN.fullmatch(text):
        return text.lower()
    if PRINCIPAL_PATTERN.fullmatch(text):
        return text
    raise InvalidRequest(f"{what} must be 1 to 128 of A-Z a-z 0-9 . _ @ -, or entra:GUID.")
