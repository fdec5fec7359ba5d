"""`azd up` from an empty environment to the proof, with recorders in place of Azure's programs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.infra.artifact import check_out
from tests.infra.conftest import Serve
from tests.infra.deployed import HOOKS
from tests.infra.recorders import Recorders

# A package is built, which takes long on a busy machine.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def recorders(tmp_path: Path) -> Recorders:
    return Recorders(tmp_path / "azure")


def test_empty_environment_ends_with_an_app_that_is_proved_to_work(
    recorders: Recorders, serve: Serve, environment: dict[str, str], tmp_path: Path
) -> None:
    checkout = check_out(tmp_path / "checkout", with_all_wheels=False)

    def hook(name: str, **more: str) -> str:
        done = subprocess.run(
            ["/bin/sh", "-c", HOOKS[name]["posix"]["run"]],
            cwd=checkout,
            env=recorders.environment
            | {"PYTHON": sys.executable, "AZURE_SUBSCRIPTION_ID": "sub"}
            | more,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    offline = {"https_proxy": "http://127.0.0.1:1"}
    hook("preprovision", **offline)
    # What the templates make of the digest.
    smoke = {"sha256": recorders.azd()["SMOKE_KEY_SHA256"], "scopes": ["chat", "tools"]}
    origin = serve(environment | {"MCP_API_KEY": "", "API_KEYS": json.dumps({"smoke": smoke})})
    outputs = {
        "AZURE_RESOURCE_GROUP": "rg",
        "APP_NAME": "app",
        "APP_URL": origin,
        "MCP_URL": f"{origin}/mcp",
        "SMOKE_OPTIONS": "--without-images",
    }
    output = hook("postprovision", **outputs)
    assert "passed" in output
    assert f"MCP clients connect to {origin}/mcp" in output
    calls = recorders.calls()
    assert [call for call in calls if call.startswith("func")] == []
    assert [call for call in calls if "config-zip" in call] == [
        "az functionapp deployment source config-zip --only-show-errors --resource-group rg "
        f"--name app --src {checkout}/dist/app.zip --build-remote false --output none "
        "--subscription sub"
    ]
    # The second time nothing has changed: no setting, and no upload.
    before = recorders.azd()
    (checkout / "dist/app.zip").unlink()
    hook("preprovision", **offline)
    assert recorders.azd() == before
    assert "nothing to upload" in hook("postprovision", **outputs)
    assert not (checkout / "dist/app.zip").exists()
    assert [call for call in recorders.calls() if "config-zip" in call] == []
