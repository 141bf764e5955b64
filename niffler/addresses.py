"""Application entities as the settings write them: AET@HOST:PORT and AET:PORT."""

import re
from dataclasses import dataclass

# PS3.5 6.2, AE: 16 characters at most, no backslash, no control characters; @ and : separate the parts here.
AE_FORM = r"[^\\@:\x00-\x1f\x7f]{1,16}"
PEER_FORM = rf"({AE_FORM})@(\[[0-9a-fA-F:.]+\]|[^@:\s\[\]]+):(\d{{1,5}})"
RECEIVING_FORM = rf"({AE_FORM}):(\d{{1,5}})"


@dataclass(frozen=True)
class Peer:
    """The AE of a PACS and where it listens."""

    ae_title: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.ae_title}@{self.host}:{self.port}"


@dataclass(frozen=True)
class ReceivingAe:
    """An AE of this machine and the port that it listens on."""

    ae_title: str
    port: int

    def __str__(self) -> str:
        return f"{self.ae_title}:{self.port}"


def peer(text: str) -> Peer:
    """Read AET@HOST:PORT; raises ValueError with what it should look like."""
    parts = re.fullmatch(PEER_FORM, text.strip())
    if parts is None or not parts[1].strip():
        raise ValueError("write it as AET@HOST:PORT, the AE title with 16 characters at most")
    return Peer(parts[1].strip(), parts[2], _port(parts[3]))


def receiving_ae(text: str) -> ReceivingAe:
    """Read AET:PORT; raises ValueError with what it should look like."""
    parts = re.fullmatch(RECEIVING_FORM, text.strip())
    if parts is None or not parts[1].strip():
        raise ValueError("write it as AET:PORT, the AE title with 16 characters at most")
    return ReceivingAe(parts[1].strip(), _port(parts[2]))


def ae_title(text: str) -> str:
    """Read an AE title alone; raises ValueError with what it should look like."""
    if not re.fullmatch(AE_FORM, text) or not text.strip():
        raise ValueError("write an AE title: 1 to 16 characters, without backslash, @ and :")
    return text.strip()


def _port(text: str) -> int:
    if not 1 <= int(text) <= 65535:
        raise ValueError("the port is a number from 1 to 65535")
    return int(text)
