"""The caller, once known."""

from dataclasses import dataclass

from shared.errors import InsufficientScope, InvalidRequest
from shared.settings import PRINCIPAL_PATTERN, Scope


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling and what they may do.

    Attributes:
        name: 1 to 128 characters of ``A-Z a-z 0-9 . _ @ -``; everything stored belongs to a name.
        scopes: What the principal may do.
        spoken_for_by: Name of the key whose owner named this user; None where it is their own.
    """

    name: str
    scopes: frozenset[Scope]
    spoken_for_by: str | None = None

    def require(self, scope: Scope) -> None:
        """Makes sure that the principal has the scope.

        Raises:
            InsufficientScope: It has not.
        """
        if scope not in self.scopes:
            raise InsufficientScope(
                f"This key lacks the scope '{scope}'. Add it to the key's 'scopes' in API_KEYS."
            )

    def speak_for(self, user: str) -> "Principal":
        """Returns the principal for a user whom the request names.

        Raises:
            InsufficientScope: The user is somebody else, and the key may not speak for others or
                speaks for one already.
        """
        if user == self.name:
            return self
        if "act-as" not in self.scopes or self.spoken_for_by:
            raise InsufficientScope(
                f"This request may not speak for '{user}'. Use that user's key, or one with the scope "
                "'act-as' that names no other user in X-User-Id."
            )
        return self.naming(user, "The name of a user")

    def naming(self, user: str, what: str) -> "Principal":
        """Returns the principal for a user whom the owner of this key may speak for.

        Args:
            user: The name.
            what: How to call it in a complaint.

        Raises:
            InvalidRequest: It is no name.
        """
        if not PRINCIPAL_PATTERN.fullmatch(user):
            raise InvalidRequest(f"{what} must be 1 to 128 of A-Z a-z 0-9 . _ @ -.")
        return Principal(user, self.scopes, spoken_for_by=self.name)
