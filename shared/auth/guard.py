"""The one door through which every request is let in."""

from collections.abc import Callable, Sequence
from typing import Protocol

from shared.auth.principal import Principal
from shared.errors import AuthNotConfigured, GatewayError, InsufficientScope, Unauthorized
from shared.settings import Scope

HeaderGetter = Callable[[str], str | None]
"""Returns the value of a header by its name in lower case, None where there is none."""

USER_HEADER = "x-user-id"


class Authenticator(Protocol):
    """One way to recognise a caller, such as keys or tokens of an identity provider."""

    async def authenticate(self, header: HeaderGetter) -> Principal | None:
        """Returns the caller, None where the headers hold nothing that this way recognises."""
        ...


class Guard:
    """Lets callers in by the first authenticator that recognises them.

    Args:
        authenticators: The ways to recognise a caller, tried in order. None at all means that
            nobody configured any, and nobody is let in.
    """

    def __init__(self, authenticators: Sequence[Authenticator]) -> None:
        self._authenticators = tuple(authenticators)

    @property
    def is_configured(self) -> bool:
        """Whether anybody can be let in."""
        return bool(self._authenticators)

    async def recognise(self, header: HeaderGetter) -> Principal:
        """Returns who is calling, whatever they may do.

        Args:
            header: Reads the request's headers.

        Raises:
            AuthNotConfigured: No way to recognise a caller is configured.
            Unauthorized: The caller is not recognised.
        """
        if not self._authenticators:
            raise AuthNotConfigured
        for authenticator in self._authenticators:
            principal = await authenticator.authenticate(header)
            if principal is not None:
                return principal
        raise Unauthorized

    async def knows(self, header: HeaderGetter) -> bool:
        """Returns whether somebody is calling who may be told more than a stranger."""
        try:
            await self.recognise(header)
        except GatewayError:
            return False
        return True

    def admit(self, caller: Principal, header: HeaderGetter, scope: Scope | None) -> Principal:
        """Returns the caller, or the user whom the caller may and does speak for.

        Args:
            caller: As `recognise` returned them.
            header: Reads the request's headers.
            scope: What the caller needs to be allowed; None where any key will do.

        Raises:
            InsufficientScope: The caller lacks the scope, or names a user without ``act-as``.
            InvalidRequest: The ``X-User-Id`` header is malformed.
        """
        if scope is not None:
            caller.require(scope)
        user = header(USER_HEADER)
        return caller if user is None else _speak_for(caller, user)


def _speak_for(principal: Principal, user: str) -> Principal:
    if "act-as" not in principal.scopes:
        raise InsufficientScope(
            "The header X-User-Id needs a key with the scope 'act-as'. Leave it out, or use such a key."
        )
    return principal.naming(user, "The header X-User-Id")
