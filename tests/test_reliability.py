"""Small versions of `benchmarks/reliability/`, in one process of their own: it forks, which pytest's may not."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "benchmarks" / "reliability"


def ended_well(code: str) -> str:
    """What the scripts print, when none of them counted a failure."""
    program = f"import sys; sys.path.insert(0, {str(SCRIPTS)!r}); {code}"
    ended = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_nothing_is_lost_torn_or_unnoticed():
    told = ended_well(
        "import flips, kill, readers;"
        "sys.exit(flips.main(['--trials', '90']) or readers.main(['--reads', '400'])"
        " or kill.main(['--trials', '2', '--only', 'save']))"
    )
    assert "noticed: 90 of 90" in told and "torn: 0 of 400" in told and "kill -9 at 2 random moments" in told


@pytest.mark.slow
def test_a_stopped_or_killed_command_goes_on():
    told = ended_well(
        "import resume, stop;"
        "sys.exit(stop.main(['--trials', '2', '--only', 'fuse'])"
        " or resume.main(['--steps', '8', '--every', '3', '--workers', '2']))"
    )
    assert "2 stops each" in told and "of a run of 8 steps" in told


@pytest.mark.slow
def test_every_failure_of_the_disk_leaves_what_was_there():
    assert "failures of the disk" in ended_well(
        "import disk; sys.exit(disk.main(['--most', '6', '--only', 'tensors,folder']))"
    )
