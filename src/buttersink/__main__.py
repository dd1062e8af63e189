"""The command `buttersink`: what a user runs, or the server that another host starts."""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Run the one or the other; return the exit status, see `errors.ExitCode`.

    The server runs as root and imports as little as it can: not even the other's command line.
    """
    if "--server" in sys.argv[1:]:
        from buttersink.server.main import main as serve  # noqa: PLC0415 - see above

        return serve(sys.argv[1:], os.environ)
    from buttersink.cli import main as run  # noqa: PLC0415 - likewise

    return run()


if __name__ == "__main__":
    sys.exit(main())
