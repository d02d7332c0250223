"""Whether the hub can be reached, asked before its library is, and how its absence is told."""

import os
import socket
from urllib.parse import urlsplit
from urllib.request import getproxies


def reachable() -> bool:
    """Whether the hub's name resolves: asked first, because the hub's library retries for half a minute."""
    from huggingface_hub import constants

    host = urlsplit(constants.ENDPOINT).hostname
    if os.environ.get("HF_HUB_OFFLINE") or host is None:
        return False
    if getproxies():
        return True
    try:
        return bool(socket.getaddrinfo(host, None))
    except OSError:
        return False


def offline_words(reason: str) -> str:
    """Why nothing came from the hub, in a line."""
    offline = "HF_HUB_OFFLINE is set" if os.environ.get("HF_HUB_OFFLINE") else (reason.splitlines() or ["unknown"])[0]
    return offline[:200]
