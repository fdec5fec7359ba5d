"""What `/openapi.json` says that routes do not: how to authenticate, and what errors look like."""

from typing import Any

from fastapi import FastAPI

from shared.routes.errors import ErrorBody

SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key", "description": "The same."},
}
OPEN_OPERATIONS = frozenset({"health", "mcp_oauth_callback"})
"""Operations that need no key."""


def complete_openapi(api: FastAPI) -> None:
    """Adds the ways to authenticate, and the shape of errors, to the application's OpenAPI document."""
    describe = api.openapi

    def describe_completely() -> dict[str, Any]:
        if api.openapi_schema is not None:
            return api.openapi_schema
        document = describe()
        components = document.setdefault("components", {})
        components["securitySchemes"] = SECURITY_SCHEMES
        components.setdefault("schemas", {})[ErrorBody.__name__] = ErrorBody.model_json_schema()
        for path in document["paths"].values():
            for operation in path.values():
                needs_key = operation["operationId"] not in OPEN_OPERATIONS
                operation["security"] = [{name: []} for name in SECURITY_SCHEMES if needs_key]
        return document

    api.openapi = describe_completely  # type: ignore[method-assign]
