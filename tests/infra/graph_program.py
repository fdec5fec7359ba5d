"""A program in place of ``az`` that keeps registrations in a file, and refuses what Entra ID refuses."""

import json
import re
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

Json = dict[str, Any]
TENANT = "11111111-2222-3333-4444-555555555555"


class Refused(Exception):
    """Raised where Microsoft Graph answers with an error."""


def main(folder: Path, arguments: list[str]) -> None:
    """Answers one call."""
    with (folder / "calls").open("a") as calls:
        calls.write(f"az {' '.join(arguments)}\n")
    if arguments[:2] == ["account", "show"]:
        sys.stdout.write(json.dumps({"id": TENANT}))
        return
    if arguments[0] != "rest":
        return
    options = dict(pairwise(arguments))
    path = options["--url"].removeprefix("https://graph.microsoft.com/v1.0")
    state_path = folder / "graph.json"
    state: Json = json.loads(state_path.read_text()) if state_path.exists() else {}
    body: Json = {}
    if "--body" in options:
        body = json.loads(Path(options["--body"].removeprefix("@")).read_text())
    upserts = "Prefer=create-if-missing" in arguments
    kind, key, value = re.findall(r"^/(\w+)\((\w+)='([^']+)'\)$", path)[0]
    rows: list[Json] = state.setdefault(kind, [])
    found = next((row for row in rows if row[key] == value), None)
    if options["--method"] == "GET":
        if found is None:
            raise Refused("Not Found({'error': {'code': 'Request_ResourceNotFound'}})")
        sys.stdout.write(json.dumps(found))
        return
    if found is None:
        if not upserts:
            raise Refused("Not Found({'error': {'code': 'Request_ResourceNotFound'}})")
        found = {key: value, "api": {}, "identifierUris": [], "appRoles": []}
        if kind == "applications":
            found["appId"] = f"aaaaaaaa-bbbb-cccc-dddd-{len(rows):012d}"
        elif not any(app["appId"] == value for app in state["applications"]):
            raise Refused("The appId of the service principal does not reference a valid app.")
        rows.append(found)
    _check(found, body)
    found["api"] |= body.pop("api", {})
    found |= body
    state_path.write_text(json.dumps(state))


def _check(found: Json, body: Json) -> None:
    api: Json = body.get("api", {})
    for name, before, after in (
        ("appRoles", found["appRoles"], body.get("appRoles")),
        (
            "oauth2PermissionScopes",
            found["api"].get("oauth2PermissionScopes", []),
            api.get("oauth2PermissionScopes"),
        ),
    ):
        if after is None:
            continue
        kept = {each["id"] for each in after}
        if any(each["isEnabled"] and each["id"] not in kept for each in before):
            raise Refused(f"CannotDeleteOrUpdateEnabledEntitlement: {name}")
        if len({each["value"] for each in after}) != len(after):
            raise Refused(f"Duplicate value in {name}")
    known = {each["id"] for each in found["api"].get("oauth2PermissionScopes", [])}
    for client in api.get("preAuthorizedApplications", []):
        if not set(client["delegatedPermissionIds"]) <= known:
            raise Refused("preAuthorizedApplications names an unknown permission")
    for uri in body.get("identifierUris", []):
        is_own = uri == f"api://{found.get('appId')}"
        if not is_own and found["api"].get("requestedAccessTokenVersion") != 2:
            raise Refused("Values of identifierUris property must use a verified domain")
        if uri.endswith("/"):
            raise Refused("identifierUris end with a slash")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), sys.argv[2:])
    except Refused as refusal:
        sys.stderr.write(f"ERROR: {refusal}\n")
        sys.exit(1)
