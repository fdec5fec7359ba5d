"""`infra.release`: one upload of a package that does not answer yet, and the proof."""

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from infra.release import UPLOADS, ReleaseError, Target, release
from tests.conftest import KEY
from tests.infra.conftest import Serve
from tests.infra.recorders import Recorders

PROJECT = Path(__file__).parent.parent.parent
BUILD = "abc"
UPLOAD = (
    "az functionapp deployment source config-zip --only-show-errors --resource-group rg "
    "--name app --src {package}/app.zip --build-remote false --output none --subscription sub"
)


@pytest.fixture
def recorders(tmp_path: Path) -> Recorders:
    return Recorders(tmp_path / "azure")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package with nothing but a version in it."""
    folder = tmp_path / "dist"
    folder.mkdir()
    with zipfile.ZipFile(folder / "app.zip", "w") as archive:
        archive.writestr("shared/__init__.py", f'__version__ = "0.1.0+{BUILD}"\n')
    digest = hashlib.sha256((folder / "app.zip").read_bytes()).hexdigest()
    (folder / "build.json").write_text(json.dumps({"build": BUILD, "sha256": digest}))
    return folder


@pytest.fixture
def origin(serve: Serve, environment: dict[str, str]) -> str:
    return serve(environment)


@pytest.fixture
def variables(recorders: Recorders, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process as a pipeline's step, with recorders on the path."""
    monkeypatch.setenv("PATH", recorders.environment["PATH"])
    monkeypatch.setenv("SMOKE_API_KEY", KEY)


def run(recorders: Recorders, origin: str, *options: str, key: str = KEY) -> tuple[int, str]:
    command = [sys.executable, "-m", "infra.release", "--url", origin, "--resource-group", "rg"]
    done = subprocess.run(
        [*command, "--app", "app", "--subscription", "sub", *options],
        cwd=PROJECT,
        env=recorders.environment | {"SMOKE_API_KEY": key},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_package_is_uploaded_once_and_proved_each_time(
    recorders: Recorders, origin: str, package: Path
) -> None:
    options = ("--package", str(package), "--", "--without-images")
    status, output = run(recorders, origin, *options)
    assert status == 0, output
    assert recorders.calls() == [UPLOAD.format(package=package)]
    assert f"ok       build {BUILD}" in output
    assert "passed" in output
    status, output = run(recorders, origin, *options)
    assert status == 0, output
    assert "nothing to upload" in output
    assert recorders.calls() == []
    assert "passed" in output


@pytest.mark.usefixtures("variables")
def test_upload_that_fails_is_tried_again(recorders: Recorders, origin: str, package: Path) -> None:
    recorders.put("upload-fails")
    target = Target("rg", "app", origin, "sub")
    release(target, package, ["--without-images"], pause_seconds=0)
    assert recorders.calls() == [UPLOAD.format(package=package)] * 2


@pytest.mark.usefixtures("variables")
def test_upload_that_is_done_though_az_reports_a_failure_is_not_repeated(
    recorders: Recorders, origin: str, package: Path
) -> None:
    recorders.put("upload-is-done-and-fails")
    release(Target("rg", "app", origin, "sub"), package, ["--without-images"], pause_seconds=0)
    assert recorders.calls() == [UPLOAD.format(package=package)]


@pytest.mark.usefixtures("variables")
def test_upload_that_never_succeeds_is_a_failure(
    recorders: Recorders, origin: str, package: Path
) -> None:
    recorders.write("az", f"#!/bin/sh\necho az >> {recorders.folder}/calls\nexit 1\n")
    with pytest.raises(ReleaseError, match="could not upload"):
        release(Target("rg", "app", origin), package, [], pause_seconds=0)
    assert len(recorders.calls()) == UPLOADS


def test_package_that_was_changed_since_is_not_uploaded(
    recorders: Recorders, origin: str, package: Path
) -> None:
    with (package / "app.zip").open("ab") as archive:
        archive.write(b"x")
    status, output = run(recorders, origin, "--package", str(package))
    assert status == 1
    assert "is not the file that build.json describes" in output
    assert recorders.calls() == []


def test_app_that_does_not_work_is_a_failure(
    recorders: Recorders, origin: str, package: Path
) -> None:
    status, output = run(recorders, origin, "--package", str(package), key="another-key")
    assert status == 1
    assert "deployed and does not work" in output


def test_missing_smoke_key_is_said_before_anything_is_built(
    recorders: Recorders, origin: str
) -> None:
    status, output = run(recorders, origin, key="")
    assert status == 1
    assert "Set SMOKE_API_KEY" in output
    assert recorders.calls() == []
