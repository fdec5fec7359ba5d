"""The principal: who calls, and what they may do."""

from dataclasses import dataclass

from shared.errors import InsufficientScope
from shared.settings import Limits, ModelPatterns, Scope

ENTRA_PREFIX = "entra:"
"""Begins the names of principals of Entra ID."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling and what they may do.

    Attributes:
        name: 1 to 128 of ``A-Z a-z 0-9 . _ @ -``, or ``entra:GUID``; everything stored belongs to a
            name.
        scopes: What the principal may do.
        spoken_for_by: Name of the key whose owner named this user; None where it is their own.
        models: Lists of patterns of models, of which a model has to match one of each: those of the
            principal and those of the key that speaks for it.
        limits: Its own limits; None for those of LIMITS.
        speaker_limits: The limits of the key that speaks for it; None for those of LIMITS.
        expires: When the key ends, as its entry says, or the token; None: never.
        display_name: The name to show to people; never used to decide anything, and never logged.
        token_id: Entra's id of the token, for its sign-in log.
    """

    name: str
    scopes: frozenset[Scope]
    spoken_for_by: str | None = None
    models: tuple[ModelPatterns, ...] = ()
    limits: Limits | None = None
    speaker_limits: Limits | None = None
    expires: str | None = None
    display_name: str | None = None
    token_id: str | None = None

    def require(self, scope: Scope) -> None:
        """Makes sure that the principal has the scope.

        Raises:
            InsufficientScope: It has not.
        """
        if scope in self.scopes:
            return
        if self.name.startswith(ENTRA_PREFIX):
            raise InsufficientScope(
                f"This token lacks the scope '{scope}'. Sign in again with it, or have an administrator "
                "assign the app role of that name.",
                scope,
            )
        raise InsufficientScope(
            f"This key lacks the scope '{scope}'. Add it to the key's 'scopes' in API_KEYS, or with "
            "PATCH /keys/{name} where the key is stored.",
            scope,
        )
