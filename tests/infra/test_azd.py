"""`azd up`: its file, and its hooks under sh with recorders in place of Azure's programs."""

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest
import tree_sitter_powershell
from tree_sitter import Language, Parser

from tests.infra.deployed import AZD, HOOKS, errors_of
from tests.infra.recorders import Recorders

PROJECT = Path(__file__).parent.parent.parent
SCHEMA = json.loads((Path(__file__).parent / "azd_schema.json").read_text())
SCRIPTS = PROJECT / "infra/hooks"
POWERSHELL = Language(tree_sitter_powershell.language())


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
    )
    return done.returncode, done.stdout + done.stderr


def prepare(recorders: Recorders, **more: str) -> tuple[int, str]:
    return run_hook(
        "preprovision",
        recorders.environment | {"PYTHON": str(recorders.python)} | more,
    )


def test_azure_yaml_is_what_the_released_azd_takes() -> None:
    jsonschema.Draft201909Validator(SCHEMA).validate(AZD)


def test_azd_has_nothing_to_deploy_that_needs_an_alpha_feature() -> None:
    assert "services" not in AZD
    assert set(HOOKS) == {"preprovision", "postprovision"}


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
    status, output = run_hook("preprovision", environment | {"PYTHON": str(recorders.python)})
    assert status == 1
    assert "The Azure CLI is missing" in output


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
