"""Where transfuse keeps what it can make again."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$TRANSFUSE_CACHE`, or `~/.cache/transfuse`."""
    return Path(os.environ.get("TRANSFUSE_CACHE") or Path.home() / ".cache" / "transfuse")
