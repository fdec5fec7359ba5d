"""What `azd` runs around provisioning; infra/hooks finds the Python for it.

``prepare``: before anything is deployed, whatever can be wrong on this machine, and the key of the
smoke test. ``release``: the package, and the proof that it works. Both read the variables of azd's
environment.
"""

import hashlib
import importlib.util
import os
import secrets
import ssl
import subprocess
import sys
import traceback
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from infra.entra.register import register
from infra.package import PROJECT, PackageError, current_build
from infra.release import PAUSE_SECONDS, ReleaseError, Target, az, release_sources

CERTIFICATE_PROBE = "https://management.azure.com/"
"""Any answer, even 404, shows that this Python can check certificates."""

_KEY_BYTES = 32
_PROBE_SECONDS = 20
_INTERRUPTED = 130


def prepare(environment: Mapping[str, str]) -> None:
    """Checks what `release` will need, and makes the key of the smoke test where there is none.

    Where ``ENTRA_REGISTRATION`` names a registration in Entra ID, it is made too.

    The key stays in azd's environment: a new one in each run would change a setting, and so restart the
    app.

    Raises:
        ReleaseError: Something is missing; the sentence says what.
        PackageError: No package can be built here.
    """
    _check_pip()
    check_certificates()
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
    if environment.get("ENTRA_REGISTRATION"):
        _register(environment)


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
    if environment.get("ENTRA_REGISTRATION"):
        # The host's name is known only now.
        _register(environment)
    release_sources(target, package, environment.get("SMOKE_OPTIONS", "").split(), pause_seconds)
    sys.stdout.write(
        f"MCP clients connect to {environment.get('MCP_URL', environment['APP_URL'])}. A key to try it "
        "with: azd env get-value SMOKE_API_KEY\n"
    )


def check_certificates(url: str = CERTIFICATE_PROBE) -> None:
    """Checks that this Python knows the authorities that sign certificates, as the smoke test needs.

    Args:
        url: What to open. That nothing answers is for azd to say, and no error here.

    Raises:
        ReleaseError: The certificate was not accepted.
    """
    try:
        with urllib.request.urlopen(url, timeout=_PROBE_SECONDS):  # noqa: S310
            pass
    except urllib.error.HTTPError as error:
        error.close()
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise ReleaseError(
                f"Python cannot check the certificate of {url}: {error.reason.verify_message}. With "
                'Python from python.org on macOS run "Install Certificates.command" in the folder '
                "/Applications/Python 3.13. Behind a proxy that inspects TLS set SSL_CERT_FILE to a "
                "file with its certificate authority."
            ) from error
    except OSError:
        pass


def _register(environment: Mapping[str, str]) -> None:
    urls = [environment.get(name, "").rstrip("/") for name in ("PUBLIC_BASE_URL", "APP_URL")]
    made = register(environment["ENTRA_REGISTRATION"], [url for url in urls if url])
    _set("ENTRA_TENANT_ID", made.tenant_id, environment)
    _set("ENTRA_CLIENT_ID", made.client_id, environment)
    sys.stdout.write(f"Client id for MCP clients: {made.public_client_id}\n")


def _check_pip() -> None:
    if importlib.util.find_spec("pip") is None:
        raise ReleaseError(
            f"{sys.executable} has no pip, which fetches the wheels of the package: run "
            f'"{sys.executable} -m ensurepip", on Debian and Ubuntu "apt install python3-pip", or name '
            "another Python 3.13: azd env set PYTHON /path/to/python3.13"
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
    except KeyboardInterrupt:
        sys.stderr.write("Stopped. azd up again goes on from there.\n")
        return _INTERRUPTED
    except Exception as error:  # noqa: BLE001 - nobody who deploys should have to read a traceback
        sys.stderr.write(_unexpected(error))
        return 1
    return 0


def _unexpected(error: Exception) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"infra.azd stopped at an error that it does not know, {type(error).__name__}: {error} "
        f"({Path(place.filename).name}, line {place.lineno}). What azd has deployed so far stays; "
        "azd up again goes on from there.\n"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
