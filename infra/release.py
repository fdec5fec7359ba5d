"""Takes a package to a function app: uploads it, waits until it answers, and proves that it works.

``python -m infra.release --resource-group GROUP --app NAME --url URL`` builds the package first, or
takes the one in the folder ``--package``. Where the app already answers with that build nothing is
built or uploaded, so that a run without changes replaces no code. It needs ``az``, signed in, and in
``SMOKE_API_KEY`` a key of the app; what follows ``--`` goes to ``tests.smoke``.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from infra.package import PROJECT, PackageError, build, current_build
from tests.smoke.checks import App, shows_build

UPLOADS = 3
"""Attempts: roles of a new app and its deployment site take some minutes to be known everywhere."""

PAUSE_SECONDS = 30
PROOF_SECONDS = 900


class ReleaseError(Exception):
    """Raised when the package is not deployed, or does not work; the sentence says what to do."""


@dataclass(frozen=True)
class Target:
    """A function app.

    Attributes:
        resource_group: Its resource group.
        app: Its name.
        url: Where it answers.
        subscription: Its subscription; empty for that of ``az``.
    """

    resource_group: str
    app: str
    url: str
    subscription: str = ""


def release(
    target: Target,
    package: Path,
    smoke_options: list[str],
    pause_seconds: float = PAUSE_SECONDS,
) -> None:
    """Uploads a package where it does not answer yet, and runs the smoke test.

    Args:
        target: The function app.
        package: Folder that ``infra.package`` has written.
        smoke_options: Options of ``tests.smoke``.
        pause_seconds: Seconds between two attempts to upload.

    Raises:
        ReleaseError: The package is damaged, cannot be uploaded, or does not work.
    """
    facts = json.loads((package / "build.json").read_text(encoding="utf-8"))
    archive = package / "app.zip"
    if hashlib.sha256(archive.read_bytes()).hexdigest() != facts["sha256"]:
        raise ReleaseError(f"{archive} is not the file that build.json describes: build it again.")
    if not _answers_already(target, facts["build"]):
        _upload(target, archive, facts["build"], pause_seconds)
    _prove(target, facts["build"], smoke_options)


def release_sources(
    target: Target,
    package: Path,
    smoke_options: list[str],
    pause_seconds: float = PAUSE_SECONDS,
) -> None:
    """Does the same for the sources of this folder, and builds their package where it is needed.

    Args:
        target: The function app.
        package: Folder to build into.
        smoke_options: Options of ``tests.smoke``.
        pause_seconds: Seconds between two attempts to upload.

    Raises:
        ReleaseError: The package cannot be uploaded, or does not work.
        PackageError: No package can be built.
    """
    current = current_build()
    if _answers_already(target, current):
        _prove(target, current, smoke_options)
    else:
        build(package, current)
        release(target, package, smoke_options, pause_seconds)


def az() -> str:
    """Returns the path of ``az``; on Windows it is a script, which has to be named in full.

    Raises:
        ReleaseError: There is none.
    """
    if found := shutil.which("az"):
        return found
    raise ReleaseError("The Azure CLI is missing: install it from https://aka.ms/azure-cli.")


def _answers_already(target: Target, build_id: str) -> bool:
    if answers := _answers(target, build_id):
        _say(f"build {build_id} answers already: nothing to upload")
    return answers


def _answers(target: Target, build_id: str) -> bool:
    return shows_build(App(target.url.rstrip("/"), ""), build_id)


def _prove(target: Target, build_id: str, smoke_options: list[str]) -> None:
    command = [sys.executable, "-m", "tests.smoke", target.url, "--build", build_id]
    command += ["--timeout", str(PROOF_SECONDS), *smoke_options]
    if subprocess.run(command, check=False, cwd=PROJECT).returncode:  # noqa: S603
        raise ReleaseError("The package is deployed and does not work; the smoke test says why.")


def _upload(target: Target, archive: Path, build_id: str, pause_seconds: float) -> None:
    command = [
        *(az(), "functionapp", "deployment", "source", "config-zip", "--only-show-errors"),
        *("--resource-group", target.resource_group, "--name", target.app, "--src", str(archive)),
        # Azure would else build the package again, and find nothing to build.
        *("--build-remote", "false", "--output", "none"),
    ]
    if target.subscription:
        command += ["--subscription", target.subscription]
    for attempt in range(1, UPLOADS + 1):
        _say(f"upload {attempt} of {archive.name} to {target.app}")
        if subprocess.run(command, check=False).returncode == 0:  # noqa: S603
            return
        if attempt < UPLOADS:
            time.sleep(pause_seconds)
        # az reports some uploads as failed that are done: https://github.com/Azure/azure-cli/issues/33184.
        if _answers(target, build_id):
            _say(f"az reported a failure, but build {build_id} answers")
            return
    raise ReleaseError(
        f"az could not upload the package in {UPLOADS} attempts; it says why above. docs/deploy.md "
        "has a list of what can be wrong."
    )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Runs the command line and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.release", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--resource-group", required=True)
    parser.add_argument("--app", required=True, help="name of the function app")
    parser.add_argument("--url", required=True, help="where it answers")
    parser.add_argument("--subscription", default="", help="default: that of az")
    parser.add_argument("--package", type=Path, help="folder of a package; default: build one")
    parser.add_argument("smoke_options", nargs="*", help="options of tests.smoke, behind --")
    options = parser.parse_args()
    target = Target(options.resource_group, options.app, options.url, options.subscription)
    try:
        if not os.environ.get("SMOKE_API_KEY"):
            raise ReleaseError(
                "Set SMOKE_API_KEY to a key of the app with the scopes chat and tools."
            )
        if options.package is None:
            release_sources(target, PROJECT / "dist", options.smoke_options)
        else:
            release(target, options.package, options.smoke_options)
    except (ReleaseError, PackageError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
