"""`azd up`: its file, and its hooks under sh with recorders in place of Azure's programs."""

import hashlib
import json
import re
import shutil
import signal
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import jsonschema  # type: ignore[import-untyped]
import pytest
import tree_sitter_powershell
from tree_sitter import Language, Parser

from infra.azd import check_certificates
from infra.release import ReleaseError
from tests.infra.deployed import AZD, HOOKS, errors_of
from tests.infra.recorders import Recorders
from tests.outbound.conftest import make_authority

PROJECT = Path(__file__).parent.parent.parent
SCHEMA = json.loads((Path(__file__).parent / "azd_schema.json").read_text())
SCRIPTS = PROJECT / "infra/hooks"
POWERSHELL = Language(tree_sitter_powershell.language())
NO_INTERNET = {"https_proxy": "http://127.0.0.1:1"}


@pytest.fixture
def recorders(tmp_path: Path) -> Recorders:
    return Recorders(tmp_path)


def run_hook(hook: str, environment: dict[str, str]) -> tuple[int, str]:
    """Runs a hook as azd does on Linux: by sh, in the project's folder."""
    done = subprocess.run(
        ["/bin/sh", "-c", HOOKS[hook]["posix"]["run"]],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        # A shell that runs the tests in the background lets its children ignore the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    return done.returncode, done.stdout + done.stderr


def prepare(recorders: Recorders, **more: str) -> tuple[int, str]:
    return run_hook(
        "preprovision",
        recorders.environment | {"PYTHON": str(recorders.python)} | NO_INTERNET | more,
    )


@contextmanager
def tls_server(context: ssl.SSLContext) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"https://localhost:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_azure_yaml_is_what_the_released_azd_takes() -> None:
    jsonschema.Draft201909Validator(SCHEMA).validate(AZD)


def test_azd_has_nothing_to_deploy_that_needs_an_alpha_feature() -> None:
    assert "services" not in AZD
    assert set(HOOKS) == {"preprovision", "postprovision"}


@pytest.mark.parametrize("system", ["posix", "windows"])
@pytest.mark.parametrize("hook", HOOKS)
def test_hooks_write_to_the_terminal_and_not_into_a_pane_that_azd_clears(
    hook: str, system: str
) -> None:
    assert HOOKS[hook][system]["interactive"] is True


def test_documentation_names_the_azd_that_azure_yaml_requires() -> None:
    version = AZD["requiredVersions"]["azd"].removeprefix(">= ")
    assert f"{version} or later" in (PROJECT / "docs/deploy.md").read_text()


@pytest.mark.parametrize("hook", HOOKS)
def test_windows_and_posix_run_the_same_step(hook: str) -> None:
    (posix,) = re.findall(r"^sh infra/hooks/run\.sh (\w+)$", HOOKS[hook]["posix"]["run"])
    (windows,) = re.findall(
        r"^& \./infra/hooks/run\.ps1 (\w+)\nexit \$LASTEXITCODE$",
        HOOKS[hook]["windows"]["run"].strip(),
    )
    assert posix == windows


def test_smoke_key_is_made_once_in_an_empty_environment(recorders: Recorders) -> None:
    status, output = prepare(recorders, AZURE_SUBSCRIPTION_ID="sub-1")
    assert status == 0, output
    made = recorders.azd()
    assert made.keys() == {"SMOKE_API_KEY", "SMOKE_KEY_SHA256"}
    assert len(made["SMOKE_API_KEY"]) >= 20
    digest = hashlib.sha256(made["SMOKE_API_KEY"].encode()).hexdigest()
    assert made["SMOKE_KEY_SHA256"] == digest
    assert made["SMOKE_API_KEY"] not in output
    assert recorders.calls("az") == ["az account show --output none --subscription sub-1"]
    # A second run finds the key, and so changes no setting of the app.
    assert prepare(recorders)[0] == 0
    assert recorders.azd() == made
    assert recorders.calls("azd") == []


def test_smoke_key_that_is_cleared_is_replaced(recorders: Recorders) -> None:
    prepare(recorders)
    before = recorders.azd()
    assert prepare(recorders, SMOKE_API_KEY="")[0] == 0
    after = recorders.azd()
    assert after["SMOKE_API_KEY"] != before["SMOKE_API_KEY"]
    digest = hashlib.sha256(after["SMOKE_API_KEY"].encode()).hexdigest()
    assert after["SMOKE_KEY_SHA256"] == digest


def test_key_of_a_caller_serves_as_smoke_key_without_a_second_name(recorders: Recorders) -> None:
    key = "a-key-that-the-operator-has-made"
    keys = json.dumps({"me": {"sha256": hashlib.sha256(key.encode()).hexdigest()}})
    status, output = prepare(recorders, SMOKE_API_KEY=key, API_KEYS=keys)
    assert status == 0, output
    assert "SMOKE_KEY_SHA256" not in recorders.azd()


def test_missing_sign_in_is_said_before_anything_is_provisioned(recorders: Recorders) -> None:
    recorders.put("signed-out")
    status, output = prepare(recorders)
    assert status == 1
    assert "run az login" in output
    assert recorders.azd() == {}


def only(recorders: Recorders, *programs: str) -> dict[str, str]:
    """Returns variables with a path on which nothing else is."""
    for name in programs:
        (recorders.programs / name).symlink_to(shutil.which(name) or name)
    return {"PATH": str(recorders.programs)}


def test_missing_azure_cli_is_said(recorders: Recorders) -> None:
    environment = only(recorders, "sh", "dirname", "basename", "git")
    (recorders.programs / "az").unlink()
    python = {"PYTHON": str(recorders.python)}
    status, output = run_hook("preprovision", environment | python | NO_INTERNET)
    assert status == 1
    assert "The Azure CLI is missing" in output


def test_python_without_pip_is_said_before_anything_is_provisioned(recorders: Recorders) -> None:
    # Without site-packages, as on a machine whose Python comes without pip.
    text = recorders.python.read_text()
    python = recorders.write("no-pip", text.replace('" "$@"', '" -S "$@"'))
    status, output = prepare(recorders, PYTHON=str(python))
    assert status == 1
    assert output.splitlines() == [output.strip()]
    assert "has no pip" in output
    assert "ensurepip" in output
    assert recorders.calls() == []


def test_certificate_that_python_cannot_check_is_said_with_the_way_out(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(make_authority(tmp_path).issue("localhost"))
    with tls_server(context) as url, pytest.raises(ReleaseError) as raised:
        check_certificates(url)
    assert "Install Certificates.command" in str(raised.value)
    assert "SSL_CERT_FILE" in str(raised.value)


def test_place_that_does_not_answer_is_left_to_azd(unused_port: int) -> None:
    check_certificates(f"https://127.0.0.1:{unused_port}/")


def test_unexpected_error_of_a_hook_is_a_sentence(recorders: Recorders) -> None:
    environment = only(recorders, "sh", "dirname", "basename", "git")
    (recorders.programs / "azd").unlink()
    python = {"PYTHON": str(recorders.python)}
    status, output = run_hook("preprovision", environment | python | NO_INTERNET)
    assert status == 1
    assert "Traceback" not in output
    assert "infra.azd stopped at an error that it does not know, FileNotFoundError" in output


def test_interrupt_ends_a_hook_without_a_traceback(recorders: Recorders) -> None:
    recorders.write("az", '#!/bin/sh\nkill -INT "$PPID"\n')
    status, output = prepare(recorders)
    assert status == 130
    assert output == "Stopped. azd up again goes on from there.\n"


def test_missing_python_is_said_although_a_shim_has_its_name(recorders: Recorders) -> None:
    environment = only(recorders, "sh", "dirname", "basename")
    for name in ("python3.13", "python3"):
        recorders.write(name, "#!/bin/sh\necho 'command not found' >&2\nexit 127\n")
    status, output = run_hook("preprovision", environment)
    assert status == 1
    assert "Python 3.13 is missing" in output
    assert "azd env set PYTHON" in output
    assert recorders.calls() == []


def test_release_without_outputs_of_azd_says_what_is_missing(recorders: Recorders) -> None:
    environment = recorders.environment | {"PYTHON": str(recorders.python)}
    status, output = run_hook("postprovision", environment)
    assert status == 1
    assert "azd's environment has no AZURE_RESOURCE_GROUP, APP_NAME, APP_URL" in output


POWERSHELL_SOURCES = {
    "run.ps1": (SCRIPTS / "run.ps1").read_text(),
    **{name: hook["windows"]["run"] for name, hook in HOOKS.items()},
}


@pytest.mark.parametrize("name", POWERSHELL_SOURCES)
def test_powershell_is_well_formed(name: str) -> None:
    source = POWERSHELL_SOURCES[name]
    assert errors_of(Parser(POWERSHELL).parse(source.encode()).root_node) == []
    # Windows PowerShell 5.1, which azd falls back to, has none of these.
    assert re.findall(r"&&|\|\||\?\?|\?\.", source) == []


def test_broken_powershell_would_be_seen() -> None:
    broken = POWERSHELL_SOURCES["run.ps1"].replace("exit 1", "if (1 {")
    assert errors_of(Parser(POWERSHELL).parse(broken.encode()).root_node) != []


def test_powershell_looks_for_the_same_pythons_as_sh() -> None:
    sh, powershell = (SCRIPTS / "run.sh").read_text(), POWERSHELL_SOURCES["run.ps1"]
    (names,) = re.findall(r'for python in "\$\{PYTHON:-\}" (.+); do', sh)
    (listed,) = re.findall(r"\$candidates = @\((.+)\)\n", powershell)
    assert [name.strip(' "') for name in listed.split(",")] == ["py -3.13", *names.split()]
    (check,) = re.findall(r"-c '(.+?)'", sh)
    assert f'$check = "{check}"' in powershell
