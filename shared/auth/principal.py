"""The principal: who calls, and what they may do."""

from dataclasses import dataclass

from shared.errors import InsufficientScope
from shared.settings import Limits, ModelPatterns, Scope


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
        expires: When the key ends, as its entry says; None: never.
    """

    name: str
    scopes: frozenset[Scope]
    spoken_for_by: str | None = None
    models: tuple[ModelPatterns, ...] = ()
    limits: Limits | None = None
    speaker_limits: Limits | None = None
    expires: str | None = None

    def require(self, scope: Scope) -> None:
        """Makes sure that the principal has the scope.

        Raises:
            InsufficientScope: It has not.
        """
        if scope not in self.scopes:
            raise InsufficientScope(
                f"This key lacks the scope '{scope}'. Add it to the key's 'scopes' in API_KEYS, or with "
                "PATCH /keys/{name} where the key is stored."
            )
