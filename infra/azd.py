"""What `azd` runs around provisioning; infra/hooks finds the Python for it.

``prepare``: before anything is deployed, whatever can be wrong on this machine, and the key of the
smoke test. ``release``: the package, and the proof that it works. Both read the variables of azd's
environment.
"""

import hashlib
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from infra.package import PROJECT, PackageError, current_build
from infra.release import PAUSE_SECONDS, ReleaseError, Target, az, release_sources

_KEY_BYTES = 32


def prepare(environment: Mapping[str, str]) -> None:
    """Checks what `release` will need, and makes the key of the smoke test where there is none.

    The key stays in azd's environment: a new one in each run would change a setting, and so restart the
    app.

    Raises:
        ReleaseError: Something is missing; the sentence says what.
        PackageError: No package can be built here.
    """
    _check_az(environment)
    current = current_build()
    if current == "unknown":
        raise PackageError("This is no git checkout: what git tracks is what is packaged.")
    key = environment.get("SMOKE_API_KEY") or secrets.token_urlsafe(_KEY_BYTES)
    digest = hashlib.sha256(key.encode()).hexdigest()
    # The app refuses one key under two names.
    needed = "" if digest in environment.get("API_KEYS", "") else digest
    _set("SMOKE_API_KEY", key, environment)
    _set("SMOKE_KEY_SHA256", needed, environment)


def release_environment(
    environment: Mapping[str, str], package: Path, pause_seconds: float = PAUSE_SECONDS
) -> None:
    """Builds the package, takes it to the app that azd has deployed, and proves that it works.

    Args:
        environment: The variables of azd's environment.
        package: Folder to build into.
        pause_seconds: Seconds between two attempts to upload.

    Raises:
        ReleaseError: It is not deployed, or does not work.
        PackageError: No package can be built.
    """
    names = ("AZURE_RESOURCE_GROUP", "APP_NAME", "APP_URL", "SMOKE_API_KEY")
    if missing := [name for name in names if not environment.get(name)]:
        raise ReleaseError(f"azd's environment has no {', '.join(missing)}: run azd up.")
    target = Target(
        environment["AZURE_RESOURCE_GROUP"],
        environment["APP_NAME"],
        environment["APP_URL"],
        environment.get("AZURE_SUBSCRIPTION_ID", ""),
    )
    release_sources(target, package, environment.get("SMOKE_OPTIONS", "").split(), pause_seconds)
    sys.stdout.write(
        f"MCP clients connect to {environment.get('MCP_URL', environment['APP_URL'])}. A key to try it "
        "with: azd env get-value SMOKE_API_KEY\n"
    )


def _check_az(environment: Mapping[str, str]) -> None:
    command = [az(), "account", "show", "--output", "none"]
    if subscription := environment.get("AZURE_SUBSCRIPTION_ID"):
        command += ["--subscription", subscription]
    if subprocess.run(command, check=False).returncode:  # noqa: S603
        raise ReleaseError(
            "The Azure CLI uploads the package and is not signed in to this subscription: run az login."
        )


def _set(name: str, value: str, environment: Mapping[str, str]) -> None:
    if environment.get(name, "") == value:
        return
    command = ["azd", "env", "set", name, value]
    if subprocess.run(command, check=False, cwd=PROJECT).returncode:  # noqa: S603
        raise ReleaseError(f"azd could not set {name}; it says why above.")


def main(arguments: list[str]) -> int:
    """Runs the command line and returns the exit status."""
    try:
        if arguments == ["prepare"]:
            prepare(os.environ)
        elif arguments == ["release"]:
            release_environment(os.environ, PROJECT / "dist")
        else:
            raise ReleaseError("python -m infra.azd takes prepare or release.")
    except (ReleaseError, PackageError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
