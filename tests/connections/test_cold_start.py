import subprocess
import sys

SCRIPT = """
import sys
import shared.routes.connections
print(*sorted(sys.modules))
"""


def test_importing_the_routes_imports_none_of_the_heavy_libraries() -> None:
    completed = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    roots = {name.partition(".")[0] for name in completed.stdout.split()}
    assert roots.isdisjoint({"mcp", "mcp_types", "openai", "httpx2", "httpcore2", "cryptography"})
