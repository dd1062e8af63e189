"""The command `buttersink`: what a user runs, or the server that another host starts.

Which of its commands a user means, the first argument says.
"""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Run one of them; return the exit status, see `errors.ExitCode`.

    The server runs as root and imports as little as it can: not even the other's command line.
    """
    if "--server" in sys.argv[1:]:
        from buttersink.server.main import main as serve  # noqa: PLC0415 - see above

        return serve(sys.argv[1:], os.environ)
    if sys.argv[1:2] == ["diff"]:
        from buttersink.diff_command import main as diff  # noqa: PLC0415 - each its own

        return diff(sys.argv[2:])
    from buttersink.cli import main as run  # noqa: PLC0415 - likewise

    return run()


if __name__ == "__main__":
    sys.exit(main())
