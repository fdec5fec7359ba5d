"""Size of the package and its cold start, with and without bytecode; prints, and judges nothing.

Each figure is the median of fresh processes, from the start of the process to the end of its first
answer, and the least and the most. The imports are seconds of the processor, which a busy machine
lengthens less, and stand beside those of the libraries alone. The files are in the page cache: an
instance in Azure reads them from its package first.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import httpx2

from infra.package import SITE_PACKAGES, build
from local.stand_in import create_stand_in
from tests.conftest import AUTH, KEY, ThreadServer
from tests.infra.artifact import Artifact, running, unpack

RUNS = 7
RPC = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
ACCEPT = {"Accept": "application/json, text/event-stream"}

FIRST: dict[str, Callable[[httpx2.Client], httpx2.Response]] = {
    "GET /health": lambda client: client.get("/health"),
    "tools/list at /mcp": lambda client: client.post("/mcp", json=RPC, headers=ACCEPT),
    "POST /chat": lambda client: client.post("/chat", json={"message": "Say hello"}),
}

LIBRARIES = "import azure.functions, azurefunctions.extensions.http.fastapi"
IMPORTS = {
    "libraries alone": LIBRARIES,
    "function_app": "import function_app",
    "function_app and the openai SDK": "import function_app, shared.openai_service.sdk",
    "function_app and the MCP SDK": "import function_app, shared.mcp_server.server",
}


def measure(
    artifact: Artifact, settings: dict[str, str], ask: Callable[[httpx2.Client], httpx2.Response]
) -> float:
    """Returns the seconds from the start of a process to the end of its first answer."""
    started = perf_counter()
    with (
        running(artifact, settings) as app,
        httpx2.Client(base_url=app.origin, headers=AUTH, timeout=60) as client,
    ):
        ask(client).raise_for_status()
        return perf_counter() - started


def main() -> None:
    """Builds both packages and measures them in turns."""
    with (
        tempfile.TemporaryDirectory() as name,
        ThreadServer(create_stand_in()) as stand_in,
    ):
        folder = Path(name)
        settings = {
            "MCP_API_KEY": KEY,
            "OPENAI_BASE_URL": f"{stand_in.origin}/v1",
            "OPENAI_API_KEY": "sk-bench",
        }
        artifacts: dict[str, Artifact] = {}
        for kind, bytecode in (("with bytecode", True), ("without", False)):
            facts = build(folder / kind / "dist", "bench", bytecode=bytecode)
            sizes = [
                f"{int(str(facts[size])) / 1e6:.1f} MB" for size in ("zip_bytes", "unpacked_bytes")
            ]
            print(f"{kind:15} zip {sizes[0]}, unpacked {sizes[1]}, {facts['files']} files")
            artifacts[kind] = unpack(folder / kind / "dist/app.zip", folder / kind)
        _measure_imports(artifacts["with bytecode"], settings)
        interpreter = statistics.median(_start_of_python() for _ in range(RUNS))
        print(f"{'Python alone':45} {interpreter * 1000:6.0f} ms")
        for what, ask in FIRST.items():
            times: dict[str, list[float]] = {kind: [] for kind in artifacts}
            for _ in range(RUNS):
                for kind, artifact in artifacts.items():
                    times[kind].append(measure(artifact, settings, ask))
            for kind, values in times.items():
                median = statistics.median(values) * 1000
                print(
                    f"{f'process to first {what}, {kind}':45} {median:6.0f} ms "
                    f"({min(values) * 1000:.0f} to {max(values) * 1000:.0f})"
                )


def _measure_imports(artifact: Artifact, settings: dict[str, str]) -> None:
    times: dict[str, list[float]] = {what: [] for what in IMPORTS}
    for _ in range(RUNS):
        for what, statement in IMPORTS.items():
            times[what].append(_import_seconds(artifact, settings, statement))
    alone = statistics.median(times["libraries alone"])
    for what, values in times.items():
        median = statistics.median(values)
        print(f"{f'imports: {what}':45} {median * 1000:6.0f} ms ({median / alone:.2f} times)")


def _import_seconds(artifact: Artifact, settings: dict[str, str], statement: str) -> float:
    """Returns the processor's seconds that a fresh process takes for an import."""
    path = os.pathsep.join([str(artifact.root / SITE_PACKAGES), str(artifact.root)])
    code = f"import time\n{statement}\nprint(time.process_time())"
    done = subprocess.run(
        [sys.executable, "-S", "-B", "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": path, **settings},
    )
    return float(done.stdout.splitlines()[-1])


def _start_of_python() -> float:
    started = perf_counter()
    subprocess.run([sys.executable, "-S", "-c", "pass"], check=True)
    return perf_counter() - started


if __name__ == "__main__":
    main()
