"""The package as it is deployed: what is in it, and that the real worker loads it alone."""

import csv
import json
import os
import re
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx2
import pytest

from infra.left_out import LEFT_OUT, is_left_out, leave_out
from infra.package import CONTENT, SITE_PACKAGES, build, local_version
from shared import __version__
from shared.app import create_app
from shared.settings import load_settings
from tests.conftest import AUTH, KEY, StandIn
from tests.infra.artifact import COMPILED, check_out, running, unpack
from tests.selection import once_in_a_run

BUILD = "0123456789abcdef0123456789abcdef01234567-dirty"
# pip fetches some ninety wheels, and a busy machine compiles them for minutes.
pytestmark = pytest.mark.timeout(900)

RPC = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
ACCEPT = {"Accept": "application/json, text/event-stream"}


@pytest.fixture(scope="session")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real package, with the wheels that pip finds."""
    return once_in_a_run(tmp_path_factory, "package", lambda folder: build(folder, BUILD))


@pytest.fixture(scope="session")
def package(output: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(output / "app.zip")


def test_package_holds_the_app_and_its_wheels_and_nothing_else(package: zipfile.ZipFile) -> None:
    top = {name.split("/")[0] for name in package.namelist()}
    assert top == {*CONTENT, "__pycache__", ".python_packages"}
    assert [name for name in package.namelist() if "local.settings" in name] == []


def test_host_may_read_every_file(package: zipfile.ZipFile) -> None:
    modes = {(entry.create_system, entry.external_attr >> 16) for entry in package.infolist()}
    assert modes == {(3, stat.S_IFREG | 0o644)}


def test_nothing_in_the_package_depends_on_the_machine_or_the_hour(
    package: zipfile.ZipFile,
) -> None:
    assert {entry.date_time for entry in package.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert package.namelist() == sorted(package.namelist(), key=lambda name: name.split("/"))
    records = [name for name in package.namelist() if name.endswith(".dist-info/RECORD")]
    # Console scripts name the interpreter, and their digests would.
    assert [name for name in records if b"/bin/" in package.read(name)] == []


def test_second_build_elsewhere_gives_the_same_bytes(output: Path, tmp_path: Path) -> None:
    checkout = check_out(tmp_path / "another/place/for/it")
    subprocess.run(
        [sys.executable, "-m", "infra.package", "--build-id", BUILD, "--output", "again"],
        cwd=checkout,
        env=os.environ | {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C"},
        umask=0o077,
        check=True,
    )
    for name in ("app.zip", "sbom.json", "build.json"):
        assert (checkout / "again" / name).read_bytes() == (output / name).read_bytes(), name


def test_binaries_are_for_the_runtime(package: zipfile.ZipFile) -> None:
    binaries = [Path(name).name for name in package.namelist() if name.endswith(".so")]
    assert binaries
    assert [
        name for name in binaries if not re.search(r"\.(cpython-313-x86_64-.+|abi3)\.so$", name)
    ] == []


def test_every_module_has_bytecode_that_no_clock_can_spoil(package: zipfile.ZipFile) -> None:
    names = set(package.namelist())
    modules = [Path(name) for name in names if name.endswith(".py")]
    bytecode = [str(m.parent / "__pycache__" / f"{m.stem}.cpython-313.pyc") for m in modules]
    assert [name for name in bytecode if name not in names] == []
    # PEP 552: 1 says that it goes by a hash, without the 2 that would have it checked.
    assert {package.read(name)[4:8] for name in bytecode} == {b"\x01\0\0\0"}


def test_bill_of_materials_lists_every_distribution_with_its_digest(
    output: Path, package: zipfile.ZipFile
) -> None:
    bill = json.loads((output / "sbom.json").read_text())
    listed = {(c["name"].lower().replace("_", "-"), c["version"]) for c in bill["components"]}
    prefix = f"{SITE_PACKAGES.as_posix()}/"
    installed = {
        match.groups()
        for name in package.namelist()
        if (match := re.fullmatch(rf"{re.escape(prefix)}([^/]+)-([^/]+)\.dist-info/METADATA", name))
    }
    assert listed == {(name.lower().replace("_", "-"), version) for name, version in installed}
    assert all(len(c["hashes"][0]["content"]) == 64 for c in bill["components"])


def test_records_list_what_is_there(package: zipfile.ZipFile) -> None:
    names = set(package.namelist())
    prefix = f"{SITE_PACKAGES.as_posix()}/"
    records = [name for name in names if name.endswith(".dist-info/RECORD")]
    recorded = {
        prefix + row[0]
        for name in records
        for row in csv.reader(package.read(name).decode().splitlines())
    }
    assert sorted(recorded - names) == []
    # All but what pip and the compilation add.
    added = re.compile(r".*\.(pyc|dist-info/(INSTALLER|REQUESTED|direct_url\.json))")
    there = {name for name in names if name.startswith(prefix) and not added.fullmatch(name)}
    assert sorted(there - recorded) == []


def test_each_pattern_of_what_is_left_out_still_matches_something(output: Path) -> None:
    assert json.loads((output / "build.json").read_text())["unused_patterns"] == []


def test_pattern_that_matches_nothing_is_told(tmp_path: Path) -> None:
    record = tmp_path / "some-1.dist-info/RECORD"
    record.parent.mkdir()
    record.write_text("some/types.pyi,sha256=x,1\nsome/code.py,sha256=x,1\n")
    unused = leave_out(tmp_path)
    assert {*LEFT_OUT} - {*unused} == {"*.pyi"}
    assert record.read_text() == "some/code.py,sha256=x,1\n"


def test_nothing_that_is_left_out_is_in_the_package(package: zipfile.ZipFile) -> None:
    prefix = f"{SITE_PACKAGES.as_posix()}/"
    names = [name.removeprefix(prefix) for name in package.namelist() if name.startswith(prefix)]
    assert [name for name in names if is_left_out(name)] == []


def run_alone(root: Path, code: str, *arguments: str) -> str:
    """Runs Python with the unpacked package and nothing else, and returns what it prints."""
    path = os.pathsep.join(map(str, (root / SITE_PACKAGES, root)))
    done = subprocess.run(
        [sys.executable, "-S", "-B", "-c", code, *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": path},
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def unpacked(output: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(output / "app.zip", tmp_path_factory.mktemp("unpacked")).root


IMPORT_ALL = """
import shared
import ast, importlib, pathlib
for path in sorted(pathlib.Path("shared").rglob("*.py")):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")
"""


def test_all_that_our_modules_import_anywhere_is_in_the_package(unpacked: Path) -> None:
    run_alone(unpacked, IMPORT_ALL)


LOAD_BINARIES = """
import importlib, pathlib, sys
root = pathlib.Path(sys.argv[1])
for path in sorted(root.rglob("*.so")):
    parts = path.relative_to(root).with_name(path.name.split(".")[0]).parts
    print(".".join(parts))
    importlib.import_module(".".join(parts))
"""


def test_all_binaries_find_their_libraries(unpacked: Path) -> None:
    assert "PIL._imaging" in run_alone(unpacked, LOAD_BINARIES, SITE_PACKAGES.as_posix()).split()


REDUCE_PICTURES = """
import io
from PIL import Image
from shared.mcp_server.pictures import reduce_picture
picture = Image.effect_noise((900, 700), 90).convert("RGB")
for kind in ("PNG", "JPEG", "GIF", "WEBP"):
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    reduced = reduce_picture(buffer.getvalue(), 60_000)
    print(kind, Image.open(io.BytesIO(reduced)).format, len(reduced) <= 60_000)
"""


def test_pictures_of_all_types_are_reduced(unpacked: Path) -> None:
    assert run_alone(unpacked, REDUCE_PICTURES).splitlines() == [
        "PNG JPEG True",
        "JPEG JPEG True",
        "GIF JPEG True",
        "WEBP JPEG True",
    ]


async def test_worker_loads_the_unpacked_package_alone_and_compiles_nothing(
    output: Path, tmp_path: Path, stand_in: StandIn
) -> None:
    settings = {
        "MCP_API_KEY": KEY,
        "OPENAI_BASE_URL": stand_in.base_url,
        "OPENAI_API_KEY": "sk-test",
    }
    artifact = unpack(output / "app.zip", tmp_path)
    # One without bytecode, so that this test can tell.
    (artifact.root / "shared/__pycache__/deadline.cpython-313.pyc").unlink()
    with running(artifact, settings) as app:
        assert app.report["shared"] == str(artifact.root / "shared/__init__.py")
        library = artifact.root / SITE_PACKAGES / "azure_functions_runtime/__init__.py"
        assert app.report["library"] == str(library)
        indexed = {function["name"] for function in app.report["functions"]}
        routes = create_app(load_settings(settings)).openapi()["paths"].values()
        assert len(indexed) >= len(routes)
        async with httpx2.AsyncClient(base_url=app.origin, headers=AUTH, timeout=60) as client:
            health = (await client.get("/health")).json()
            assert health["version"] == f"{__version__}+{local_version(BUILD)}"
            assert health["build"] == BUILD
            listed = await client.post("/mcp", json=RPC, headers=ACCEPT)
            assert '"server_time"' in listed.text
            chat = await client.post("/chat", json={"message": "What is the server time?"})
            assert chat.json()["answer"]
    compiled = [line for line in str(app.log).splitlines() if line.startswith(COMPILED)]
    assert compiled == [f"{COMPILED}{artifact.root / 'shared/deadline.py'}"]
