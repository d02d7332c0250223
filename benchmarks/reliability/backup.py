"""Backups at a place, killed and damaged: does a version ever look whole that is not, and does what comes back differ?

    python benchmarks/reliability/backup.py URL [--trials 20] [--megabytes 24]

URL is any that fsspec reaches and that may be filled; for an S3 server of one's own (`pip install moto[server] s3fs`):
`moto_server -p 5005`, then AWS_ENDPOINT_URL=http://127.0.0.1:5005 AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x.
Each trial changes a folder, kills `backup` at a random moment, looks what a reader finds, and runs it again; then one
bit of one copy is changed.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from transfuse.core import digests
from transfuse.core.errors import TransfuseError
from transfuse.weights.backups.backup import backup, backups, restore
from transfuse.weights.backups.places import place_of


def main() -> int:
    """Run the trials and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--megabytes", type=int, default=24)
    options = parser.parse_args()
    counts = {"killed": 0, "wrong": 0, "not resumed": 0, "damage unnoticed": 0}
    generator, seconds, sent = random.Random(0), 1.0, []
    with tempfile.TemporaryDirectory() as name:
        model = Path(name) / "model"
        model.mkdir()
        _fill(model, options.megabytes, generator)
        began = time.monotonic()
        _killed(model, options.url, None)
        seconds, states = time.monotonic() - began, [_state(model)]
        for _ in range(options.trials):
            _fill(model, options.megabytes, generator)
            states.append(_state(model))
            counts["killed"] += _killed(model, options.url, generator.uniform(0.2, 0.95) * seconds)
            restore(options.url, Path(name) / "seen", replace=True)
            counts["wrong"] += _state(Path(name) / "seen") not in states[-2:]
            sent.append(backup(model, options.url, keep=3).summary[0].rpartition(";")[2].split()[0])
            restore(options.url, Path(name) / "back", replace=True)
            counts["not resumed"] += _state(Path(name) / "back") != states[-1]
            counts["damage unnoticed"] += not _noticed(options.url, Path(name) / "x", generator)
            backup(model, options.url)  # mends it
    size = f"{options.megabytes} MB in 6 files"
    print(f"{backups(options.url).title}: {options.trials} trials of {size}, {seconds:.1f} s each with Python's start")
    for what, count in counts.items():
        print(f"  {what:18} {count:4} of {options.trials}")
    print(f"  files sent again after the kill: {', '.join(sent)} of 6")
    return int(any(count for what, count in counts.items() if what != "killed"))


def _fill(model: Path, megabytes: int, generator: random.Random) -> None:
    for number in range(6):
        (model / f"part{number}").write_bytes(generator.randbytes((megabytes << 20) // 6))


def _state(folder: Path) -> str:
    return digests.of_many(digests.of_file(path) for path in sorted(folder.iterdir()))


def _killed(model: Path, url: str, after: float | None) -> bool:
    """Start a backup and kill it the hard way, if at all; whether it was still at work."""
    code = f"from transfuse.weights.backups.backup import backup; backup({str(model)!r}, {url!r}, keep=3)"
    with subprocess.Popen([sys.executable, "-c", code], env=dict(os.environ)) as child:
        if after is not None:
            time.sleep(after)
            child.send_signal(signal.SIGKILL)
        return child.wait() == -signal.SIGKILL


def _noticed(url: str, folder: Path, generator: random.Random) -> bool:
    """Change one bit of one copy there; whether restoring refuses it."""
    place = place_of(url)
    name = generator.choice(sorted(_newest(url)))
    data = bytearray(place.read("files", name, limit=1 << 30))
    data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
    place.write(bytes(data), "files", name)
    try:
        restore(url, folder)
    except TransfuseError:
        return not folder.exists()
    return False


def _newest(url: str) -> set[str]:
    from transfuse.weights.backups.versions import versions_at

    return {copy.sha256 for copy in versions_at(place_of(url))[0][-1].files.values()}


if __name__ == "__main__":
    sys.exit(main())
