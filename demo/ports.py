"""Free ports for servers that are started a moment later."""

import random
import socket

# Below the range from which Linux takes the ports of outgoing connections, which could be quicker than the server.
_FIRST, _LAST = 12_000, 32_000


def free_port() -> int:
    """A port of this machine that nobody listens on at the moment."""
    for _ in range(1000):
        port = random.randint(_FIRST, _LAST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no port is free")
