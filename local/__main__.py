"""``python -m local``: installs what is missing, then runs the app; see `local.cli`."""

import sys

from local.installation import ensure_installed

if __name__ == "__main__":
    ensure_installed()
    # Only now there is everything that it imports.
    from local.cli import main

    sys.exit(main())
