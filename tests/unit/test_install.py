"""What `make install` leaves can be trusted to run as root."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "install"
PROGRAMS = ("btrfslist", "buttersink", "checksumdir")

_PYTHON = (
    """\
#!/bin/sh
# Stands in for Python: makes an environment with a pip that only makes programs.
test "$1" = -m || exit 0
mkdir -p "$4/bin"
{
    echo '#!/bin/sh'
    echo 'cd "$(dirname "$0")"'
    echo "for program in buttersink btrfslist checksumdir; do"
    echo '    echo "#!elsewhere" >$program'
    echo '    echo "import sys; print(sys.flags.isolated, sys.flags.utf8_mode)" >>$program'
    echo '    chmod 755 $program'
    echo done
} >"$4/bin/pip"
chmod 755 "$4/bin/pip"
"""
    f'ln -s {sys.executable} "$4/bin/python"\n'
)


def installed(tmp_path: Path, prefix: Path) -> subprocess.CompletedProcess[str]:
    python = tmp_path / "python"
    python.write_text(_PYTHON, encoding="utf-8")
    python.chmod(0o755)
    return subprocess.run(
        [SCRIPT, python, prefix],
        check=False,
        capture_output=True,
        text=True,
        umask=0,
    )


def test_the_programs_heed_no_variable_of_python_and_take_names_for_utf8(tmp_path: Path) -> None:
    assert installed(tmp_path, tmp_path / "usr").returncode == 0
    for program in PROGRAMS:
        done = subprocess.run(
            [tmp_path / "usr" / "bin" / program],
            check=True,
            capture_output=True,
            text=True,
            env={"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONPATH": "/nowhere"},
        )
        assert done.stdout == "1 1\n"


def test_nobody_but_the_owner_may_write_to_what_is_installed(tmp_path: Path) -> None:
    prefix = tmp_path / "usr"
    assert installed(tmp_path, prefix).returncode == 0
    found = [path for path in prefix.rglob("*") if not path.is_symlink()]
    assert len(found) > len(PROGRAMS)
    assert [path for path in found if os.stat(path).st_mode & 0o022] == []


def test_nothing_is_installed_where_no_program_could_run(tmp_path: Path) -> None:
    done = installed(tmp_path, tmp_path / "my programs")
    assert (done.returncode, done.stdout) == (1, "")
    assert "PREFIX" in done.stderr
    assert not (tmp_path / "my programs").exists()
