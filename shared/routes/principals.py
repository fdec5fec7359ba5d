"""`/principals/{name}`: people's data."""

from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from shared.auth import Guard, principal_name
from shared.keys import AdminChanges
from shared.principal_data import PrincipalData
from shared.routes.guarded_route import Context, guarded

_MORE = {"detail": "There is more to delete. Repeat the request until it answers 204."}
_NOT_DONE: dict[int | str, dict[str, Any]] = {
    202: {
        "description": "There was no time for all of it: repeat the request until it answers 204.",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["detail"],
                    "properties": {"detail": {"type": "string"}},
                },
                "example": _MORE,
            }
        },
    }
}


def principals_router(data: PrincipalData, changes: AdminChanges, guard: Guard) -> APIRouter:
    """Returns the route by which ``admin`` removes what is stored of a principal."""
    router = APIRouter(tags=["keys"], route_class=guarded(guard, "admin"))

    @router.delete(
        "/principals/{name}",
        name="principal_delete",
        summary="Delete what is stored of a principal",
        status_code=204,
        responses=_NOT_DONE,
    )
    async def delete(name: str, context: Context) -> Response:
        """Deletes conversations, media, tasks, connections, jobs and kept results of a principal.

        204: nothing is left; also for a principal that never was. 202: there was no time for all of it,
        repeat the request. The key stays valid: delete it first, or new data may come.
        """
        principal = principal_name(name, "The name of a principal")
        async with changes.record(context.principal, "principal_delete", principal):
            is_done = await data.delete(principal)
        if is_done:
            return Response(status_code=204)
        return JSONResponse(_MORE, status_code=202)

    return router
