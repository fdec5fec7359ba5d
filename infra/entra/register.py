"""Registers the app in Entra ID; it can be run again at any time.

``python3 -m infra.entra.register --name NAME --url https://HOST`` prints the settings to make.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from infra.entra import graph
from infra.entra.registration import (
    AZURE_CLI,
    VSCODE,
    first_step,
    public_client,
    second_step,
)
from infra.release import ReleaseError

_UNIQUE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")
_URL = re.compile(r"https://[A-Za-z0-9.-]+(:[0-9]+)?")
_LOCAL_URL = re.compile(r"http://localhost(:[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Registered:
    """What was registered.

    Attributes:
        tenant_id: The tenant.
        client_id: Client id of the app, for ENTRA_CLIENT_ID.
        public_client_id: Client id that people enter into MCP clients.
    """

    tenant_id: str
    client_id: str
    public_client_id: str


def register(
    name: str, urls: Sequence[str] = (), pages: Sequence[str] = (), *, assigned_only: bool = False
) -> Registered:
    """Makes both registrations, or brings those that there are up to date.

    Args:
        name: Unique name of the registration, which people see too.
        urls: Where callers reach the app, ``https://HOST``; none before it is deployed.
        pages: Further addresses of the page, such as that of local work.
        assigned_only: Whether only people and programs with an assignment get tokens.

    Raises:
        ReleaseError: A name or URL is malformed, or Azure refuses.
    """
    _check(name, urls, pages)
    clients_name = f"{name}-clients"
    graph.upsert_application(name, first_step(name, name, graph.application(name) or {}))
    api = _application(name)
    found = graph.application(clients_name) or {}
    graph.upsert_application(clients_name, public_client(f"{name} for MCP clients", api, found))
    public = _application(clients_name)
    clients = [VSCODE, AZURE_CLI, str(public["appId"])]
    graph.update_application(api["appId"], second_step(api, urls, clients, pages))
    required = {"appRoleAssignmentRequired": True} if assigned_only else {}
    graph.upsert_service_principal(api["appId"], required)
    graph.upsert_service_principal(public["appId"], {})
    return Registered(graph.tenant_id(), str(api["appId"]), str(public["appId"]))


def _application(name: str) -> graph.Json:
    found = graph.application(name)
    if found is None:
        raise ReleaseError(f"Entra ID does not show the registration {name} yet: run it again.")
    return found


def _check(name: str, urls: Sequence[str], pages: Sequence[str]) -> None:
    if not _UNIQUE_NAME.fullmatch(name):
        raise ReleaseError(f"The name {name!r} is not 1 to 100 of a-z 0-9 -.")
    for url in urls:
        if not _URL.fullmatch(url):
            raise ReleaseError(f"The URL {url!r} is not https://HOST, without a slash at the end.")
    for page in pages:
        if not (_URL.fullmatch(page) or _LOCAL_URL.fullmatch(page)):
            raise ReleaseError(f"The page {page!r} is neither https://HOST nor http://localhost.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status."""
    parser = argparse.ArgumentParser(prog="python3 -m infra.entra.register")
    parser.add_argument("--name", required=True, help="unique name of the registration")
    parser.add_argument("--url", action="append", default=[], help="https://HOST of the app")
    parser.add_argument("--page", action="append", default=[], help="another origin of the page")
    parser.add_argument(
        "--assigned-only", action="store_true", help="tokens only for who has an assignment"
    )
    chosen = parser.parse_args(arguments)
    try:
        made = register(chosen.name, chosen.url, chosen.page, assigned_only=chosen.assigned_only)
    except ReleaseError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(
        f"ENTRA_TENANT_ID={made.tenant_id}\n"
        f"ENTRA_CLIENT_ID={made.client_id}\n"
        f"Client id for MCP clients: {made.public_client_id}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
