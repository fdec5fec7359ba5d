"""The registration in Entra ID, against a program that keeps it and refuses what Entra ID refuses."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.azd import prepare
from infra.entra.register import main
from infra.entra.registration import AZURE_CLI, ROLES, SCOPES, VSCODE
from shared.settings import DEFAULT_SCOPES
from shared.settings import SCOPES as ALL_SCOPES
from tests.infra.graph_program import TENANT
from tests.infra.recorders import Recorders

PROGRAM = Path(__file__).parent / "graph_program.py"
URL = "https://func-oaimcp.azurewebsites.net"
CLIENT_ID = "aaaaaaaa-bbbb-cccc-dddd-000000000000"
PUBLIC_CLIENT_ID = "aaaaaaaa-bbbb-cccc-dddd-000000000001"


@pytest.fixture
def graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorders:
    recorders = Recorders(tmp_path)
    recorders.write("az", f'#!/bin/sh\nexec "{sys.executable}" "{PROGRAM}" "{tmp_path}" "$@"\n')
    monkeypatch.setenv("PATH", recorders.environment["PATH"])
    return recorders


def registered(graph: Recorders) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the two registrations."""
    api, client = json.loads((graph.folder / "graph.json").read_text())["applications"]
    return api, client


def register(*more: str) -> int:
    return main(["--name", "oaimcp", *more])


def test_app_is_registered_as_clients_need_it(
    graph: Recorders, capsys: pytest.CaptureFixture[str]
) -> None:
    page = "http://localhost:7071"
    assert register("--url", "https://api.example.com", "--url", URL, "--page", page) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"ENTRA_TENANT_ID={TENANT}",
        f"ENTRA_CLIENT_ID={CLIENT_ID}",
        f"Client id for MCP clients: {PUBLIC_CLIENT_ID}",
    ]
    api, client = registered(graph)
    assert api["api"]["requestedAccessTokenVersion"] == 2
    assert api["signInAudience"] == "AzureADMyOrg"
    assert api["identifierUris"] == [
        f"api://{CLIENT_ID}",
        "https://api.example.com",
        "https://api.example.com/mcp",
        URL,
        f"{URL}/mcp",
    ]
    scopes = {each["value"]: each["id"] for each in api["api"]["oauth2PermissionScopes"]}
    assert scopes.keys() == DEFAULT_SCOPES | {"user_impersonation"}
    assert {each["value"] for each in api["appRoles"]} == set(ALL_SCOPES)
    authorized = {each["appId"]: each for each in api["api"]["preAuthorizedApplications"]}
    assert authorized.keys() == {VSCODE, AZURE_CLI, PUBLIC_CLIENT_ID}
    assert set(authorized[VSCODE]["delegatedPermissionIds"]) == set(scopes.values())
    assert api["spa"]["redirectUris"] == ["https://api.example.com/", f"{URL}/", f"{page}/"]
    assert client["isFallbackPublicClient"] is True
    redirects = client["publicClient"]["redirectUris"]
    assert "https://claude.ai/api/mcp/auth_callback" in redirects
    assert "http://localhost/callback" in redirects
    [access] = client["requiredResourceAccess"]
    assert access["resourceAppId"] == CLIENT_ID
    assert access["resourceAccess"] == [{"id": scopes["user_impersonation"], "type": "Scope"}]


def test_second_run_changes_nothing(graph: Recorders) -> None:
    register("--url", URL)
    before = registered(graph)
    assert register("--url", URL) == 0
    assert registered(graph) == before


def test_what_an_administrator_has_added_stays(graph: Recorders) -> None:
    register()
    path = graph.folder / "graph.json"
    state = json.loads(path.read_text())
    api = state["applications"][0]
    role = {"id": "r", "value": "trial", "isEnabled": True, "allowedMemberTypes": ["User"]}
    api["appRoles"].append(role)
    api["api"]["oauth2PermissionScopes"][1]["id"] = "of-the-portal"
    theirs = {"appId": "their-client", "delegatedPermissionIds": ["of-the-portal"]}
    api["api"]["preAuthorizedApplications"].append(theirs)
    api["identifierUris"].append("https://old.example")
    path.write_text(json.dumps(state))
    assert register("--url", URL) == 0
    api, _ = registered(graph)
    assert role in api["appRoles"]
    assert api["api"]["oauth2PermissionScopes"][1]["id"] == "of-the-portal"
    assert theirs in api["api"]["preAuthorizedApplications"]
    assert {"https://old.example", f"{URL}/mcp"} <= set(api["identifierUris"])


def test_assignment_is_required_only_where_asked_for(graph: Recorders) -> None:
    def required() -> object:
        principals = json.loads((graph.folder / "graph.json").read_text())["servicePrincipals"]
        return principals[0].get("appRoleAssignmentRequired")

    register()
    assert required() is None
    register("--assigned-only")
    register()
    assert required() is True


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--url", "https://host/"], "without a slash at the end"),
        (["--url", "http://host.example"], "is not https://HOST"),
        (["--page", "http://host.example"], "neither https://HOST nor http://localhost"),
    ],
)
def test_malformed_url_is_refused_before_anything_is_registered(
    graph: Recorders,
    arguments: list[str],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert register(*arguments) == 1
    assert sentence in capsys.readouterr().err
    assert graph.calls() == []


def test_refusal_of_azure_is_shown(graph: Recorders, capsys: pytest.CaptureFixture[str]) -> None:
    graph.write("az", '#!/bin/sh\necho "ERROR: Insufficient privileges" >&2\nexit 1\n')
    assert register() == 1
    assert "Insufficient privileges" in capsys.readouterr().err


def test_azd_registers_the_app_only_where_a_name_is_set(
    graph: Recorders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "")
    prepare({"SMOKE_API_KEY": "k"})
    assert "ENTRA_CLIENT_ID" not in graph.azd()
    prepare({"SMOKE_API_KEY": "k", "ENTRA_REGISTRATION": "oaimcp", "APP_URL": f"{URL}/"})
    assert graph.azd()["ENTRA_TENANT_ID"] == TENANT
    assert graph.azd()["ENTRA_CLIENT_ID"] == CLIENT_ID
    api, _ = registered(graph)
    assert f"{URL}/mcp" in api["identifierUris"]


def test_registration_has_the_scopes_and_roles_of_the_app() -> None:
    assert SCOPES.keys() == DEFAULT_SCOPES | {"user_impersonation"}
    assert set(ROLES) == set(ALL_SCOPES)
