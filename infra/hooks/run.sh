#!/bin/sh
# Runs a step of infra/azd.py, prepare or release, with the Python that the function app runs.
set -eu
cd "$(dirname "$0")/../.."

for python in "${PYTHON:-}" python3.13 python3 python; do
  # A name on the path may be a shim for a Python that is not there.
  if [ -n "$python" ] && "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2> /dev/null; then
    exec "$python" -m infra.azd "$1"
  fi
done

echo "Python 3.13 is missing: the package holds bytecode for the version that the function app runs." >&2
echo "Install it, or name it: azd env set PYTHON /path/to/python3.13" >&2
exit 1
