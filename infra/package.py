"""Builds what is deployed: the app, its wheels for exactly the runtime's Python, and their bytecode.

``python -m infra.package``, in the project's folder and with the Python version of the function app
(``pythonVersion`` in ``infra/modules/app.bicep``), on any system; nothing but pip is needed. It writes
into the folder ``--output``:

- ``app.zip``: the package. The same sources give the same bytes.
- ``sbom.json``: its bill of materials, CycloneDX 1.6.
- ``build.json``: the build's id, the package's SHA-256, its sizes, and patterns of files to leave out
  that match none.
"""

import argparse
import hashlib
import importlib
import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from infra.left_out import leave_out
from infra.sbom import bill_of_materials

PROJECT = Path(__file__).resolve().parent.parent

CONTENT = ("function_app.py", "host.json", "shared")
"""All that goes in beside the wheels, as far as git tracks it."""

SITE_PACKAGES = Path(".python_packages/lib/site-packages")
"""Where the worker looks for packages, before everything else."""

DEPLOYED_AT = "/home/site/wwwroot"
"""Where the app lies in Azure, so that stack traces name it."""

# The runtime's image has glibc 2.36; wheels for newer ones would fail there.
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in range(28, 16, -1)] + [
    "manylinux2014_x86_64"
]
LINUX = {
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "sys_platform": "linux",
}
"""The runtime, in the words of requirement markers."""


class PackageError(Exception):
    """Raised when no package can be built; the sentence says why and what to do."""


def runtime_python() -> str:
    """Returns the Python version that the template asks for."""
    template = (PROJECT / "infra/modules/app.bicep").read_text(encoding="utf-8")
    (version,) = re.findall(r"^var pythonVersion = '(3\.\d+)'$", template, re.MULTILINE)
    return str(version)


def current_build() -> str:
    """Returns the commit of the working tree, with a digest of what was changed since."""
    try:
        commit = _git("rev-parse", "HEAD")
        changes = _git("diff", "HEAD", "--binary", "--", *CONTENT, "requirements.txt")
        # A second package of changed sources is another build: the smoke test waits for its id.
        digest = hashlib.sha256(changes.encode(errors="surrogateescape")).hexdigest()[:8]
        return f"{commit}-dirty-{digest}" if changes else commit
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str, project: Path = PROJECT) -> str:
    command = ["git", "-C", str(project), *arguments]
    # Windows would decode by its code page, which is not what git writes.
    done = subprocess.run(  # noqa: S603
        command, check=True, capture_output=True, encoding="utf-8", errors="surrogateescape"
    )
    return done.stdout.strip()


def build(output: Path, build_id: str, *, bytecode: bool = True) -> dict[str, object]:
    """Builds the package and returns what ``build.json`` holds.

    Args:
        output: Folder to write into.
        build_id: Id of the build, the commit as a rule.
        bytecode: Whether to compile.

    Raises:
        PackageError: This Python is not the runtime's, git does not track the app, or pip found no
            wheel.
    """
    expected = runtime_python()
    if f"{sys.version_info.major}.{sys.version_info.minor}" != expected:
        raise PackageError(
            f"The function app runs Python {expected}, and bytecode fits one version only: run this "
            f"with Python {expected}, not {platform.python_version()}."
        )
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        copy_sources(PROJECT, root)
        _stamp(root, build_id)
        components = _install(root)
        unused_patterns = leave_out(root / SITE_PACKAGES)
        if bytecode:
            _compile(root)
        files = sorted(path for path in root.rglob("*") if path.is_file())
        output.mkdir(parents=True, exist_ok=True)
        # What is built belongs into no commit, whatever the folder.
        (output / ".gitignore").write_text("*\n", encoding="utf-8")
        archive = output / "app.zip"
        _write_zip(archive, root, files)
        facts: dict[str, object] = {
            "build": build_id,
            "python": expected,
            "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
            "zip_bytes": archive.stat().st_size,
            "unpacked_bytes": sum(path.stat().st_size for path in files),
            "files": len(files),
            "unused_patterns": unused_patterns,
        }
    sbom = bill_of_materials(_version(), build_id, components)
    (output / "sbom.json").write_text(json.dumps(sbom, indent=2) + "\n", encoding="utf-8")
    (output / "build.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return facts


def copy_sources(project: Path, root: Path) -> None:
    """Copies the app's files that git tracks; what else lies beside them may hold secrets.

    Args:
        project: Folder of the git checkout.
        root: Folder to copy into.

    Raises:
        PackageError: git does not track the app there.
    """
    try:
        listed = _git("ls-files", "-z", "--", *CONTENT, project=project).split("\0")
    except (OSError, subprocess.CalledProcessError) as error:
        reason = str(getattr(error, "stderr", None) or error).strip()
        raise PackageError(
            f"git cannot list the files of the app: {reason}. Build the package in a git checkout."
        ) from error
    tracked = [name for name in listed if name and (project / name).is_file()]
    if missing := [part for part in CONTENT if not _has(tracked, part)]:
        raise PackageError(f"git tracks none of these: {', '.join(missing)}. Add them to git.")
    for name in tracked:
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(project / name, target)


def _has(names: list[str], part: str) -> bool:
    return any(name == part or name.startswith(f"{part}/") for name in names)


def _version() -> str:
    (version,) = re.findall(
        r'^__version__ = "(.+)"$', _version_file(PROJECT).read_text(encoding="utf-8"), re.MULTILINE
    )
    return str(version)


def _version_file(root: Path) -> Path:
    return root / "shared/__init__.py"


def _stamp(root: Path, build_id: str) -> None:
    # In the code and not in a setting: a setting would name the new build while the old code still runs.
    path = _version_file(root)
    text = path.read_text(encoding="utf-8")
    for line, stamped in (
        (
            f'__version__ = "{_version()}"',
            f'__version__ = "{_version()}+{local_version(build_id)}"',
        ),
        ('__build__ = "dev"', f'__build__ = "{build_id}"'),
    ):
        if line not in text:
            raise PackageError(f"shared/__init__.py has no line {line}: put it back.")
        text = text.replace(line, stamped)
    path.write_text(text, encoding="utf-8", newline="\n")


def local_version(build_id: str) -> str:
    """Returns a build's id as the part of a version number that follows the plus sign."""
    return re.sub(r"[^a-z0-9]+", ".", build_id.lower()).strip(".")


def _install(root: Path) -> list[dict[str, object]]:
    report = root / "pip-report.json"
    requirements = root / "requirements.txt"
    lock = (PROJECT / "requirements.txt").read_text(encoding="utf-8")
    requirements.write_text("\n".join(requirements_of_the_runtime(lock)), encoding="utf-8")
    command = [
        *(sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check"),
        *("--target", str(root / SITE_PACKAGES), "--requirement", str(requirements)),
        # The lock is complete, and pip would take the markers of dependencies for this machine's.
        *("--require-hashes", "--no-deps", "--only-binary", ":all:", "--no-compile"),
        *("--implementation", "cp", "--python-version", runtime_python()),
        *(option for name in PLATFORMS for option in ("--platform", name)),
        *("--report", str(report)),
    ]
    if subprocess.run(command, check=False).returncode:  # noqa: S603
        raise PackageError(
            "pip could not install the wheels of requirements.txt; it says why above."
        )
    installed: list[dict[str, object]] = json.loads(report.read_text(encoding="utf-8"))["install"]
    report.unlink()
    requirements.unlink()
    return installed


def requirements_of_the_runtime(lock: str) -> Iterator[str]:
    """Yields the requirements of a lock file that are for the runtime, each with its hashes.

    Raises:
        PackageError: One has no hash.
    """
    # pip brings this along wherever it is; it judges markers for a system that is not this one.
    parse = importlib.import_module("pip._vendor.packaging.requirements").Requirement
    target = {
        **LINUX,
        "python_version": runtime_python(),
        "python_full_version": f"{runtime_python()}.0",
    }
    for line in lock.replace("\\\n", " ").splitlines():
        text, *hashes = line.split("#")[0].strip().split(" --hash=")
        if not text.strip():
            continue
        requirement = parse(text)
        if not hashes:
            raise PackageError(
                f"requirements.txt has no hash for {requirement.name}: write it with `make lock`."
            )
        if requirement.marker is None or requirement.marker.evaluate(target):
            pinned = f"{requirement.name}{requirement.specifier}"
            yield " ".join([pinned, *(f"--hash={each.strip()}" for each in hashes)])


def _compile(root: Path) -> None:
    # A fresh process and one worker: bytecode marks which of its strings other code of the process has
    # used before, so the order of compilation is part of the bytes.
    command = [
        *(sys.executable, "-I", "-S", "-m", "compileall", "-qq", "-f", "-r", "50", "-j", "1"),
        *("-s", str(root), "-p", DEPLOYED_AT),
        # Timestamps do not survive packaging, and without a valid one Python compiles at each start.
        *("--invalidation-mode", "unchecked-hash", str(root)),
    ]
    done = subprocess.run(command, check=False).returncode == 0  # noqa: S603
    broken = [path for path in root.rglob("*.py") if not _bytecode_of(path).exists()]
    if not done and any(SITE_PACKAGES not in path.relative_to(root).parents for path in broken):
        raise PackageError(f"These files do not compile: {', '.join(map(str, broken))}.")


def _bytecode_of(path: Path) -> Path:
    return path.parent / "__pycache__" / f"{path.stem}.{sys.implementation.cache_tag}.pyc"


def _write_zip(archive: Path, root: Path, files: list[Path]) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as package:
        for path in files:
            # The same date always, so that equal content gives equal bytes.
            entry = zipfile.ZipInfo(path.relative_to(root).as_posix(), (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            # Without Unix permissions the host mounts files that it cannot read, and finds no function.
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            package.writestr(entry, path.read_bytes())


def main() -> int:
    """Runs the command line and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.package", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--output", type=Path, default=PROJECT / "dist", help="default: dist")
    parser.add_argument("--build-id", help="default: the commit of the working tree")
    parser.add_argument("--no-bytecode", action="store_true", help="leave bytecode out, to compare")
    parser.add_argument("--print-build-id", action="store_true", help="print the id and do no more")
    options = parser.parse_args()
    build_id = options.build_id or current_build()
    if options.print_build_id:
        sys.stdout.write(f"{build_id}\n")
        return 0
    try:
        facts = build(options.output, build_id, bytecode=not options.no_bytecode)
    except PackageError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write("".join(f"{name}: {value}\n" for name, value in facts.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
