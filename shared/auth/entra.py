"""Access tokens of Microsoft Entra ID, validated in this process.

Nothing is imported and nothing is asked for before the first token. What a token says of how it is to be
checked, such as another algorithm or a URL of keys, is not followed.

Source: https://learn.microsoft.com/entra/identity-platform/access-tokens#validate-tokens
"""

import asyncio
import hashlib
import importlib
import re
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from time import time
from typing import Any

from shared.auth.claims import principal_of_claims
from shared.auth.entra_config import EntraConfig
from shared.auth.guard import HeaderGetter
from shared.auth.principal import Principal
from shared.auth.signing_keys import SigningKeys
from shared.errors import InvalidToken, MisfitToken

MAX_TOKEN_CHARS = 16 * 1024
LEEWAY_SECONDS = 60
"""By which the clocks of this app and of Entra may differ."""

MAX_KNOWN_TOKENS = 1000
KNOWN_SECONDS = 300.0
"""For which a token that was valid is not checked again."""

MAX_MISFITS = 10
MISFIT_SECONDS = 24 * 3600.0
"""How many kinds of refusals are remembered for the operator, and for how long."""

ALGORITHM = "RS256"

# The header of a token is a JSON object, whose first characters, {", are eyJ in base64.
_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")


class EntraAuthenticator:
    """Authenticates callers by access token.

    Args:
        config: Whose tokens are accepted.
        keys: The tenant's signing keys.
        now: Returns seconds since 1970.
    """

    def __init__(
        self, config: EntraConfig, keys: SigningKeys, now: Callable[[], float] = time
    ) -> None:
        self._config = config
        self._keys = keys
        self._now = now
        self._known: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()
        self._misfits: OrderedDict[str, float] = OrderedDict()

    async def is_configured(self) -> bool:
        """Returns True: a tenant is configured."""
        return True

    async def authenticate(self, header: HeaderGetter) -> Principal | None:
        """Returns the principal of the token in ``Authorization: Bearer``, None where there is none.

        Raises:
            InvalidToken: It is not valid here.
            SigningKeysUnavailable: It cannot be checked now.
        """
        token = bearer_token(header)
        if token is None:
            return None
        if len(token) > MAX_TOKEN_CHARS:
            raise InvalidToken(f"it has more than {MAX_TOKEN_CHARS} characters")
        digest = hashlib.sha256(token.encode()).digest()
        now = self._now()
        if known := self._known.get(digest):
            until, principal = known
            if now < until:
                return principal
            del self._known[digest]
        claims = await self._verify(token)
        try:
            principal = principal_of_claims(claims, self._config)
        except MisfitToken as misfit:
            self._remember(misfit, now)
            raise
        self._known[digest] = (min(now + KNOWN_SECONDS, claims["exp"] + LEEWAY_SECONDS), principal)
        if len(self._known) > MAX_KNOWN_TOKENS:
            self._known.popitem(last=False)
        return principal

    async def find_principal(self, name: str) -> Principal | None:
        """Returns None: what a person may do is only in a token of theirs."""
        return None

    def misfits(self) -> list[str]:
        """Returns why genuine tokens of the tenant were refused lately, and what to do."""
        now = self._now()
        return [advice for advice, at in self._misfits.items() if now - at < MISFIT_SECONDS]

    async def aclose(self) -> None:
        """Ends a fetch of keys that is under way."""
        await self._keys.aclose()

    def _remember(self, misfit: MisfitToken, now: float) -> None:
        self._misfits[misfit.advice] = now
        self._misfits.move_to_end(misfit.advice)
        if len(self._misfits) > MAX_MISFITS:
            self._misfits.popitem(last=False)

    async def _verify(self, token: str) -> Mapping[str, Any]:
        """Returns the claims of a token whose signature, form and times are right."""
        if "jwt" not in sys.modules:
            # With cryptography it takes about 100 ms.
            await asyncio.to_thread(importlib.import_module, "jwt")
        import jwt

        key = await self._keys.find(_key_id(token))
        if key is None:
            raise InvalidToken("its signing key is not one of the tenant")
        try:
            return jwt.decode(
                token, key, algorithms=[ALGORITHM], options=_OPTIONS, leeway=LEEWAY_SECONDS
            )
        except jwt.ExpiredSignatureError as error:
            raise InvalidToken("it has expired") from error
        except jwt.ImmatureSignatureError as error:
            raise InvalidToken("it is not valid yet") from error
        except (jwt.PyJWTError, *_UNREADABLE) as error:
            raise InvalidToken("its signature or form is not valid") from error


_UNREADABLE = (ValueError, TypeError, OverflowError, RecursionError)
"""What reading JSON of strangers raises besides the library's own errors."""

_OPTIONS: Any = {
    "require": ["exp", "iss", "aud"],
    # Those are compared as a whole, with the rest of the claims.
    "verify_aud": False,
    "verify_iss": False,
    "verify_iat": False,
    "verify_sub": False,
    "verify_jti": False,
}


def bearer_token(header: HeaderGetter) -> str | None:
    """Returns what ``Authorization`` holds if it has the form of a signed token."""
    scheme, _, token = (header("authorization") or "").partition(" ")
    token = token.strip()
    return token if scheme.lower() == "bearer" and looks_like_token(token) else None


def looks_like_token(text: str) -> bool:
    """Returns whether a text has the form of a signed token (RFC 7515, section 7.1)."""
    return _TOKEN.fullmatch(text) is not None


def _key_id(token: str) -> str:
    """Returns the id of the key that a token says it is signed with."""
    import jwt

    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, *_UNREADABLE) as error:
        raise InvalidToken("it is malformed") from error
    if header.get("alg") != ALGORITHM:
        raise InvalidToken(f"it is not signed with {ALGORITHM}")
    key_id = header.get("kid")
    if not isinstance(key_id, str) or not key_id:
        raise InvalidToken("it does not name its signing key")
    return key_id
