"""What `/openapi.json` says that routes do not say of themselves: how to authenticate."""

from typing import Any

from fastapi import FastAPI

SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key", "description": "The same."},
}
OPEN_OPERATIONS = frozenset({"health"})
"""Operations that need no key."""


def describe_security(api: FastAPI) -> None:
    """Adds the ways to authenticate to the application's OpenAPI document."""
    describe = api.openapi

    def describe_with_security() -> dict[str, Any]:
        if api.openapi_schema is not None:
            return api.openapi_schema
        document = describe()
        document.setdefault("components", {})["securitySchemes"] = SECURITY_SCHEMES
        for path in document["paths"].values():
            for operation in path.values():
                needs_key = operation["operationId"] not in OPEN_OPERATIONS
                operation["security"] = [{name: []} for name in SECURITY_SCHEMES if needs_key]
        return document

    api.openapi = describe_with_security  # type: ignore[method-assign]
