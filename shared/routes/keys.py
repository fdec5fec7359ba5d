"""`/keys`: the keys of callers."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from shared.auth import Guard
from shared.keys import AdminChanges, KeyStore, StoredKey
from shared.routes.errors import document_errors
from shared.routes.guarded_route import Context, guarded
from shared.settings import (
    DEFAULT_SCOPES,
    SCOPES,
    Expiry,
    KeyGrant,
    Limits,
    ModelPatterns,
    Scope,
    Settings,
)
from shared.strict_json import as_integer

MAX_OVERLAP_SECONDS = 30 * 24 * 3600


class NewKey(KeyGrant):
    """Body of `POST /keys`."""

    name: str = Field(description="Whose key it is: the principal, 1 to 128 of A-Z a-z 0-9 . _ @ -")


class KeyChanges(BaseModel):
    """Body of `PATCH /keys/{name}`: what is left out stays as it is, null sets it back.

    Attributes:
        scopes: What its keys may do; null for chat, tools, connections and openai.
        expires: The last day on which they are valid (UTC), or a moment; null for never.
        models: Patterns of models; null for any.
        limits: Limits; null for those of LIMITS.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    scopes: frozenset[Scope] | None = None
    expires: Expiry | None = None
    models: ModelPatterns | None = None
    limits: Limits | None = None


class Rotation(BaseModel):
    """Body of `POST /keys/{name}/rotate`."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    overlap_seconds: Annotated[
        int, BeforeValidator(as_integer), Field(ge=0, le=MAX_OVERLAP_SECONDS)
    ] = Field(
        0,
        description="How much longer the keys before are valid; other instances know a new key after "
        "at most 30 seconds.",
    )


class KeyView(BaseModel):
    """What a key may do.

    Attributes:
        name: The principal.
        scopes: What it may do.
        expires: The last day on which it is valid (UTC), or the moment at which it ends; null: never.
        models: Patterns of the models that it may use; null: any.
        limits: Its own limits; null: those of LIMITS.
    """

    name: str
    scopes: list[Scope]
    expires: str | None
    models: list[str] | None
    limits: dict[str, int | float] | None


class ShownKey(KeyView):
    """A new key.

    Attributes:
        key: The key, shown only now.
    """

    key: str


class StoredKeyView(KeyView):
    """A stored key.

    Attributes:
        created_at: When it was made.
        created_by: Who made it.
        rotated_at: When its newest key was made; null where that is the first.
        valid_keys: Keys that are valid now: more than one while a rotation overlaps.
        problem: Why it lets nobody in; null where it does.
    """

    created_at: datetime
    created_by: str
    rotated_at: datetime | None
    valid_keys: int
    problem: str | None


class KeyList(BaseModel):
    """Answer of `GET /keys`.

    Attributes:
        keys: The stored keys, by name.
        settings: The keys of API_KEYS that are well-formed, by name.
        problems: A sentence for each entry of API_KEYS that lets nobody in.
    """

    keys: list[StoredKeyView]
    settings: list[KeyView]
    problems: list[str]


def keys_router(
    store: KeyStore, changes: AdminChanges, settings: Settings, guard: Guard
) -> APIRouter:
    """Returns the routes by which ``admin`` manages stored keys."""
    router = APIRouter(tags=["keys"], route_class=guarded(guard, "admin"))

    @router.get("/keys", name="keys_list", summary="List keys")
    async def list_keys() -> KeyList:
        """Lists the stored keys and those of the settings, without the keys themselves."""
        now = datetime.now(UTC)
        stored = await store.all()
        entries = settings.auth.api_keys
        return KeyList(
            keys=[_describe(store, name, stored[name], now) for name in sorted(stored)],
            settings=[
                KeyView(**_view(name, each)) for name, each in sorted(entries.entries.items())
            ],
            problems=list(entries.problems(now)),
        )

    @router.post(
        "/keys",
        name="keys_create",
        summary="Make a key",
        responses=document_errors(409),
        status_code=201,
    )
    async def create(body: NewKey, context: Context, response: Response) -> ShownKey:
        """Makes a key. It is shown only now; storage has its digest."""
        admin = context.principal
        async with changes.record(admin, "keys_create", body.name, _granted(body)):
            key = await store.create(body.name, body, admin)
        _keep_secret(response)
        return ShownKey(**_view(body.name, body), key=key)

    @router.post(
        "/keys/{name}/rotate",
        name="key_rotate",
        summary="Rotate a key",
        responses=document_errors(409),
    )
    async def rotate(
        name: str, context: Context, response: Response, body: Rotation | None = None
    ) -> ShownKey:
        """Makes a new key of a name; those before are valid for the overlap, by default not at all."""
        seconds = body.overlap_seconds if body else 0
        details = {"overlap_seconds": seconds}
        async with changes.record(context.principal, "key_rotate", name, details):
            key, stored = await store.rotate(name, timedelta(seconds=seconds))
        _keep_secret(response)
        return ShownKey(**_view(name, stored), key=key)

    @router.patch(
        "/keys/{name}", name="key_update", summary="Change a key", responses=document_errors(409)
    )
    async def update(name: str, body: KeyChanges, context: Context) -> KeyView:
        """Changes what the keys of a name may do; they stay the same."""
        wanted = {field: getattr(body, field) for field in body.model_fields_set}
        if "scopes" in wanted and wanted["scopes"] is None:
            wanted["scopes"] = DEFAULT_SCOPES
        details = body.model_dump(mode="json", include=body.model_fields_set)
        async with changes.record(context.principal, "key_update", name, details):
            stored = await store.update(name, wanted)
        return KeyView(**_view(name, stored))

    @router.delete(
        "/keys/{name}",
        name="key_delete",
        summary="Delete a key",
        responses=document_errors(409),
        status_code=204,
    )
    async def delete(name: str, context: Context) -> None:
        """Takes the keys of a name away; what is stored under the name stays."""
        async with changes.record(context.principal, "key_delete", name):
            await store.delete(name)

    return router


def _describe(store: KeyStore, name: str, stored: StoredKey, now: datetime) -> StoredKeyView:
    problem = None
    if store.is_taken(name):
        problem = "The name belongs to the app settings, which come first."
    elif stored.ends_at is not None and stored.ends_at <= now:
        problem = f"It expired on {stored.expires}."
    valid = sum(each.ends_at is None or each.ends_at > now for each in stored.digests)
    return StoredKeyView(
        **_view(name, stored),
        created_at=stored.created_at,
        created_by=stored.created_by,
        rotated_at=stored.rotated_at,
        valid_keys=0 if problem else valid,
        problem=problem,
    )


def _view(name: str, grant: KeyGrant) -> dict[str, Any]:
    limits = None if grant.limits is None else grant.limits.model_dump(exclude_none=True)
    return {
        "name": name,
        "scopes": sorted(grant.scopes, key=SCOPES.index),
        "expires": grant.expires,
        "models": None if grant.models is None else list(grant.models),
        "limits": limits,
    }


def _granted(grant: KeyGrant) -> dict[str, Any]:
    view = _view("", grant)
    del view["name"]
    return view


def _keep_secret(response: Response) -> None:
    response.headers["Cache-Control"] = "no-store"
