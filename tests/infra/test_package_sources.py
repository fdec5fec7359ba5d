"""What of the working tree goes into the package."""

import subprocess
import sys
from pathlib import Path

import pytest

from infra.package import PROJECT, PackageError, copy_sources

TRACKED = {"function_app.py", "host.json", "shared/__init__.py", "shared/pages/index.html"}


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True)


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init")
    write(folder, *TRACKED)
    git(folder, "add", ".")
    return folder


def copied(checkout: Path) -> set[str]:
    root = checkout.parent / "root"
    copy_sources(checkout, root)
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_package_holds_what_git_tracks_and_nothing_that_lies_beside_it(checkout: Path) -> None:
    write(checkout, "shared/.env", "shared/local.settings.json", "shared/notes.py", "other.py")
    write(checkout, "shared/__pycache__/a.pyc")
    assert copied(checkout) == TRACKED


def test_tracked_file_is_packaged_as_it_is_now(checkout: Path) -> None:
    (checkout / "host.json").write_text("changed")
    (checkout / "shared/pages/index.html").unlink()
    assert copied(checkout) == TRACKED - {"shared/pages/index.html"}
    assert (checkout.parent / "root/host.json").read_text() == "changed"


def test_folder_that_is_no_checkout_is_refused(tmp_path: Path) -> None:
    write(tmp_path, *TRACKED)
    with pytest.raises(PackageError, match="Build the package in a git checkout"):
        copy_sources(tmp_path, tmp_path / "root")


def test_app_that_git_does_not_track_is_refused(checkout: Path) -> None:
    git(checkout, "rm", "-r", "--cached", "shared")
    with pytest.raises(PackageError, match="git tracks none of these: shared"):
        copied(checkout)


def test_nothing_is_read_in_the_encoding_of_the_machine(tmp_path: Path) -> None:
    """On Windows that is a code page, in which neither git nor this project writes."""
    script = (
        "from pathlib import Path; from infra import azd, package, release; "
        "package.current_build(); package.runtime_python(); "
        f"root = Path({str(tmp_path)!r}); package.copy_sources(package.PROJECT, root); "
        "package._stamp(root, 'abc')"
    )
    strict = ["-X", "warn_default_encoding", "-W", "error::EncodingWarning"]
    done = subprocess.run(
        [sys.executable, *strict, "-c", script],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_worker_does_not_take_the_app_for_a_plain_fastapi_app() -> None:
    # The Functions worker picks the runtime library by these words in function_app.py.
    text = (PROJECT / "function_app.py").read_text()
    assert [words for words in ("FastAPI()", "from fastapi import") if words in text] == []
