"""Microsoft Graph by ``az rest``, with the sign-in of the Azure CLI."""

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.release import ReleaseError, az

GRAPH = "https://graph.microsoft.com/v1.0"
# https://learn.microsoft.com/graph/api/application-upsert and .../serviceprincipal-upsert
CREATE_IF_MISSING = "Prefer=create-if-missing"

Json = dict[str, Any]


class NotFound(ReleaseError):
    """Raised when Microsoft Graph has no such object."""


def application(unique_name: str) -> Json | None:
    """Returns an app registration, None where there is none of that unique name."""
    try:
        return _az("GET", f"/applications(uniqueName='{unique_name}')")
    except NotFound:
        return None


def upsert_application(unique_name: str, body: Mapping[str, Any]) -> None:
    """Creates an app registration, or changes the properties of the one that there is."""
    _az("PATCH", f"/applications(uniqueName='{unique_name}')", body, CREATE_IF_MISSING)


def update_application(app_id: str, body: Mapping[str, Any]) -> None:
    """Changes properties of an app registration."""
    _az("PATCH", f"/applications(appId='{app_id}')", body)


def upsert_service_principal(app_id: str, body: Mapping[str, Any]) -> None:
    """Creates or changes the presence of an app in the tenant, to which roles are assigned."""
    _az("PATCH", f"/servicePrincipals(appId='{app_id}')", body, CREATE_IF_MISSING)


def tenant_id() -> str:
    """Returns the tenant of the sign-in."""
    return str(_run(["account", "show", "--query", "{id: tenantId}", "--output", "json"])["id"])


def _az(method: str, path: str, body: Mapping[str, Any] | None = None, *headers: str) -> Json:
    command = ["rest", "--method", method, "--url", GRAPH + path, "--output", "json"]
    if body is None:
        return _run(command)
    with tempfile.TemporaryDirectory() as folder:
        # Not as an argument, which the az of Windows would read as a command line once more.
        file = Path(folder) / "body.json"
        file.write_text(json.dumps(body), encoding="utf-8")
        command += ["--headers", "Content-Type=application/json", *headers]
        return _run([*command, "--body", f"@{file}"])


def _run(arguments: list[str]) -> Json:
    done = subprocess.run(  # noqa: S603
        [az(), *arguments], check=False, capture_output=True, text=True, encoding="utf-8"
    )
    if "ResourceNotFound" in done.stderr:
        raise NotFound(done.stderr.strip()[:2000])
    if done.returncode:
        raise ReleaseError(f"az {' '.join(arguments[:5])} failed: {done.stderr.strip()[:2000]}")
    answer: Json = json.loads(done.stdout) if done.stdout.strip() else {}
    return answer
