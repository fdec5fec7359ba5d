"""The caller, once known."""

from dataclasses import dataclass

from shared.errors import InsufficientScope
from shared.settings import Scope


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling and what they may do.

    Attributes:
        name: 1 to 128 characters of ``A-Z a-z 0-9 . _ @ -``; everything stored belongs to a name.
        scopes: What the principal may do.
    """

    name: str
    scopes: frozenset[Scope]

    def require(self, scope: Scope) -> None:
        """Makes sure that the principal has the scope.

        Raises:
            InsufficientScope: It has not.
        """
        if scope not in self.scopes:
            raise InsufficientScope(
                f"This key lacks the scope '{scope}'. Add it to the key's 'scopes' in API_KEYS."
            )
