"""Files of libraries that the package goes without, because nothing that the app does reads them."""

from fnmatch import fnmatchcase
from pathlib import Path

LEFT_OUT = (
    # For a shell, with the interpreter of the machine that built the package in them.
    "../../bin/*",
    # For type checkers, compilers, and the libraries' own tests.
    "*.pyi",
    "*.pyx",
    "*.pxd",
    "*.c",
    "*.h",
    "*.proto",
    "*/tests/*",
    "jsonschema/benchmarks/*",
    "multidict/_testcapi.*",
    "samples/*",
    # Pillow reduces pictures of four formats to JPEG: no AVIF, fonts, color profiles, arithmetic, Tk.
    "PIL/_avif.*.so",
    "PIL/_imagingcms.*.so",
    "PIL/_imagingft.*.so",
    "PIL/_imagingmath.*.so",
    "PIL/_imagingmorph.*.so",
    "PIL/_imagingtk.*.so",
    "pillow.libs/libavif-*",
    "pillow.libs/libbrotli*",
    "pillow.libs/libfreetype-*",
    "pillow.libs/libharfbuzz-*",
    "pillow.libs/liblcms2-*",
    "pillow.libs/libpng16-*",
    # Messages of Google's services; telemetry needs `google.protobuf` alone.
    "google/[!_p]*/*",
    # Endpoints that neither a tool nor `/v1` calls through the SDK, a quarter of all files.
    "openai/lib/beta/*",
    "openai/lib/live/*",
    "openai/resources/admin/*",
    "openai/resources/beta/*",
    "openai/resources/live/*",
    "openai/resources/realtime/*",
    "openai/types/admin/*",
    "openai/types/beta/*",
    "openai/types/live/*",
    "openai/types/realtime/*",
)
"""Patterns of paths as wheels record them, relative to where packages are; ``*`` matches slashes too."""


def is_left_out(path: str) -> bool:
    """Returns whether a pattern matches a path."""
    return any(fnmatchcase(path, pattern) for pattern in LEFT_OUT)


def leave_out(site_packages: Path) -> list[str]:
    """Removes these files, and from the records of their distributions too.

    Returns:
        The patterns that matched no file.
    """
    removed: list[str] = []
    for record in site_packages.glob("*.dist-info/RECORD"):
        kept = []
        for line in record.read_text(encoding="utf-8").splitlines(keepends=True):
            path = line.rsplit(",", 2)[0].strip('"')
            if not is_left_out(path):
                kept.append(line)
            else:
                removed.append(path)
                # Where pip puts scripts depends on the system, and not on what is recorded.
                (site_packages / path.replace("../../bin", "bin")).unlink(missing_ok=True)
        record.write_text("".join(kept), encoding="utf-8", newline="\n")
    return [each for each in LEFT_OUT if not any(fnmatchcase(path, each) for path in removed)]
