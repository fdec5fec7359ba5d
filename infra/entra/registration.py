"""What is registered: the app with its scopes and roles, and a public client for MCP clients.

What an administrator has added, such as roles that only have limits, stays.

Source: https://learn.microsoft.com/graph/api/resources/application
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import NAMESPACE_URL, uuid5

Json = dict[str, Any]

VSCODE = "aebc6443-996d-45c2-90f0-388ff96faa56"
AZURE_CLI = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"

CLIENT_REDIRECTS = (
    "https://claude.ai/api/mcp/auth_callback",
    "https://claude.com/api/mcp/auth_callback",
    # Of these any port is right. The portal refuses 127.0.0.1, Microsoft Graph does not.
    "http://127.0.0.1/callback",
    "http://127.0.0.1/oauth/callback",
    "http://localhost",
    "http://localhost/callback",
    "http://localhost/oauth/callback",
)
"""Where MCP clients without a registration of their own come back to."""

SCOPES: Mapping[str, str] = {
    "user_impersonation": "Chat, call tools, use connections and OpenAI's API",
    "chat": "Chat, and keep conversations",
    "tools": "Call tools",
    "connections": "Connect other MCP servers, and use them",
    "openai": "Use OpenAI's API",
}
"""Delegated scopes, to which users may consent, with what the consent says."""

ROLES: Mapping[str, tuple[str, Sequence[str]]] = {
    "chat": ("Chat, and keep conversations", ["Application"]),
    "tools": ("Call tools", ["Application"]),
    "connections": ("Connect other MCP servers, and use them", ["Application"]),
    "openai": ("Use OpenAI's API", ["Application"]),
    "act-as": ("Act as any user", ["Application", "User"]),
    "admin": ("Manage keys, see all usage, delete people's data", ["Application", "User"]),
}
"""App roles, which an administrator assigns, with what they allow and who may have them."""


def first_step(name: str, unique_name: str, found: Mapping[str, Any]) -> Json:
    """Returns what the registration needs before anything can refer to it.

    Args:
        name: Shown to people.
        unique_name: Its unique name, from which ids are made.
        found: The registration that there is; empty for none.
    """
    api = found.get("api") or {}
    return {
        "displayName": name,
        "signInAudience": "AzureADMyOrg",
        "api": {
            # Version 2 first: with 1 Entra refuses https URIs outside of verified domains.
            "requestedAccessTokenVersion": 2,
            "oauth2PermissionScopes": _merge(
                api.get("oauth2PermissionScopes", ()),
                [_scope(unique_name, value, text) for value, text in SCOPES.items()],
            ),
        },
        "appRoles": _merge(
            found.get("appRoles", ()),
            [_role(unique_name, value, *role) for value, role in ROLES.items()],
        ),
        "optionalClaims": {"accessToken": [{"name": "idtyp"}, {"name": "preferred_username"}]},
    }


def second_step(
    found: Mapping[str, Any], urls: Sequence[str], clients: Iterable[str], pages: Sequence[str]
) -> Json:
    """Returns what refers to the registration itself.

    Args:
        found: The registration after the first step.
        urls: Where callers reach the app, without a slash at the end.
        clients: Ids of the clients that need no consent.
        pages: Addresses besides ``urls`` where people open the page.
    """
    scopes = [scope["id"] for scope in found["api"]["oauth2PermissionScopes"]]
    others = {
        each["appId"]: each["delegatedPermissionIds"]
        for each in found["api"].get("preAuthorizedApplications", ())
    }
    authorized = others | dict.fromkeys(clients, scopes)
    uris = [f"api://{found['appId']}"]
    for url in urls:
        uris += [url, f"{url}/mcp"]
    redirects = [f"{url}/" for url in (*urls, *pages)]
    return {
        "identifierUris": _joined(found.get("identifierUris", ()), uris),
        "api": {
            "preAuthorizedApplications": [
                {"appId": client, "delegatedPermissionIds": ids}
                for client, ids in authorized.items()
            ]
        },
        "spa": {
            "redirectUris": _joined((found.get("spa") or {}).get("redirectUris", ()), redirects)
        },
    }


def public_client(name: str, api: Mapping[str, Any], found: Mapping[str, Any]) -> Json:
    """Returns the registration of the client that people enter into Claude and others.

    Args:
        name: Shown to people.
        api: The registration of the app after the first step.
        found: The registration that there is; empty for none.
    """
    [scope] = [
        each["id"]
        for each in api["api"]["oauth2PermissionScopes"]
        if each["value"] == "user_impersonation"
    ]
    redirects = (found.get("publicClient") or {}).get("redirectUris", ())
    return {
        "displayName": name,
        "signInAudience": "AzureADMyOrg",
        "isFallbackPublicClient": True,
        "publicClient": {"redirectUris": _joined(redirects, CLIENT_REDIRECTS)},
        "requiredResourceAccess": [
            {
                "resourceAppId": api["appId"],
                "resourceAccess": [{"id": scope, "type": "Scope"}],
            }
        ],
    }


def _scope(unique_name: str, value: str, text: str) -> Json:
    return {
        "id": _id(unique_name, "scope", value),
        "value": value,
        "type": "User",
        "isEnabled": True,
        "adminConsentDisplayName": text,
        "adminConsentDescription": f"{text}, as the signed-in user.",
        "userConsentDisplayName": text,
        "userConsentDescription": f"{text}, as you.",
    }


def _role(unique_name: str, value: str, text: str, members: Sequence[str]) -> Json:
    return {
        "id": _id(unique_name, "role", value),
        "value": value,
        "isEnabled": True,
        "allowedMemberTypes": list(members),
        "displayName": text,
        "description": f"{text}.",
    }


def _id(unique_name: str, kind: str, value: str) -> str:
    # The same in each run, so that a run changes nothing that is right.
    return str(uuid5(NAMESPACE_URL, f"{unique_name}/{kind}/{value}"))


def _merge(found: Iterable[Json], wanted: Iterable[Json]) -> list[Json]:
    """Returns what there is with what is wanted; of the same value the id that there is stays."""
    merged = {each["value"]: each for each in found}
    for each in wanted:
        there = merged.get(each["value"], {})
        merged[each["value"]] = there | each | ({"id": there["id"]} if there else {})
    return list(merged.values())


def _joined(found: Iterable[str], wanted: Iterable[str]) -> list[str]:
    return list(dict.fromkeys([*found, *wanted]))
