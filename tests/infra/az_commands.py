"""Asks ``az --help`` for every command and option that documentation, pipelines and tools use.

``make az-commands`` runs it with an ``az`` of its own. It takes minutes, so no test does.
"""

import re
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PROJECT = Path(__file__).parent.parent.parent
SOURCES = (
    "docs/deploy.md",
    "docs/entra.md",
    "README.md",
    "azure-pipelines*.yml",
    "infra/pipelines/*.yml",
    "infra/*.bicepparam",
)

_COMMAND = re.compile(r"(?<![\w./-])az((?: [a-z][a-z-]*)+)((?:[^`\n|;]|`[^`\n]*`)*)")
_OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z-]+)")


def used(text: str) -> dict[str, set[str]]:
    """Returns the options of each ``az`` command of a text."""
    found: dict[str, set[str]] = defaultdict(set)
    # A command goes on behind a backslash, in PowerShell behind a backtick.
    text = re.sub(r"[\\`]\n\s*", "", text)
    nested = re.findall(r"\$\((az [^()]*)\)", text)
    text = "\n".join([re.sub(r"\$\(az [^()]*\)", "X", text), *nested])
    for words, rest in _COMMAND.findall(text):
        # A query is another language, and has words of its own.
        options = re.sub(r"\"[^\"]*\"|'[^']*'", "", rest)
        found[f"az{words}"] |= set(_OPTION.findall(options.split(" -- ")[0]))
    return found


def commands() -> dict[str, set[str]]:
    """Returns the options of each ``az`` command of the project."""
    found: dict[str, set[str]] = defaultdict(set)
    for pattern in SOURCES:
        for path in PROJECT.glob(pattern):
            for command, options in used(path.read_text()).items():
                found[command] |= options
    # infra/release.py and infra/azd.py make lists of theirs.
    upload = "az functionapp deployment source config-zip"
    found[upload] |= {"--src", "--build-remote", "--only-show-errors", "--subscription", "--output"}
    found["az account show"] |= {"--subscription", "--output", "--query"}
    # infra/entra/graph.py too.
    found["az rest"] |= {"--method", "--url", "--output", "--headers", "--body"}
    return found


def unknown(az: str, command: str, options: set[str]) -> str | None:
    """Returns what ``az`` does not know of a command, None where it knows all."""
    done = subprocess.run(
        [az, *command.split()[1:], "--help"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        return f"{command}: no such command"
    missing = sorted(option for option in options if not re.search(rf"{option}\b", done.stdout))
    return f"{command}: no {', '.join(missing)}" if missing else None


def main() -> int:
    """Runs the command line and returns the exit status."""
    az = sys.argv[1]
    found = sorted(commands().items())
    with ThreadPoolExecutor(2) as pool:
        problems = list(filter(None, pool.map(lambda each: unknown(az, *each), found)))
    for command, options in found:
        sys.stdout.write(f"{command} {' '.join(sorted(options))}\n")
    sys.stdout.write("".join(f"UNKNOWN  {problem}\n" for problem in problems))
    sys.stdout.write(f"{len(found)} commands, {len(problems)} with something unknown\n")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
