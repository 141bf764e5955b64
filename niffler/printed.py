"""What the DCM4CHE tools print → values; the same lines on 5.22.5 and 5.34.3, at INFO level."""

import re

from niffler.vocabulary import Response

_RESPONSE = re.compile(r"\(\d+\) >> (\d{1,9}):C-(?:FIND|MOVE)-RSP\[pcid=(.*)")
_REQUEST = re.compile(r"\(\d+\) << (\d{1,9}):C-(?:FIND|MOVE)-RQ\[pcid=")
_STATUS = re.compile(r"\bstatus=([0-9a-fA-F]{1,8})H")
_COUNT = re.compile(r"\b(remaining|completed|failed|warning)=(\d{1,9})\b")
_COMMENT = re.compile(r"\berrorComment=(.*)")
_ACCEPTED = re.compile(r"\(\d+\) >> A-ASSOCIATE-AC")
_RELEASING = re.compile(r"\(\d+\) << A-RELEASE-RQ")
_BROKEN = re.compile(r"(?:>> )?((?:A-ASSOCIATE-RJ|A-ABORT)\[.*\]|\d+:DIMSE-RSP timeout expired)")
_LOST = re.compile(r"\(\d+\)(?:: i/o exception: | >> A-RELEASE-RQ)")
_CLOSED = re.compile(r"\(\d+\): close Socket\[")
_OWN_ABORT = re.compile(r"\(\d+\) << A-ABORT")
_ERROR = re.compile(r"^(?:findscu|movescu|storescp): (.+)")
_LISTENING = re.compile(r"Start TCP Listener on ")
_DISK_FULL = re.compile(r"No space left on device|Disk quota exceeded")
_RENAMED = re.compile(r" - (.+?\(\d+\)): M-RENAME .*?\.part to (.+)$")
_STORED = re.compile(r" - (.+?\(\d+\)) << \d+:C-STORE-RSP\[pcid=\d+, status=([0-9a-fA-F]+)H")

_CLOSED_WITHOUT_A_WORD = "the connection was closed"


def response_in(line: str) -> Response | None:
    """The C-FIND or C-MOVE response that a line reports.

    Only what stands before the status is read as counts: an error comment is text of the PACS and could say
    anything.
    """
    printed = _RESPONSE.search(line)
    if printed is None:
        return None
    fields = printed.group(2)
    status = _STATUS.search(fields)
    if status is None:
        return None
    counts = {name: int(value) for name, value in _COUNT.findall(fields[: status.start()])}
    comment = _COMMENT.search(fields, status.end())
    return Response(
        message_id=int(printed.group(1)),
        status=int(status.group(1), 16),
        comment=comment.group(1).strip(" ]") if comment else "",
        **counts,
    )


def request_in(line: str) -> int | None:
    """The message ID of the C-FIND or C-MOVE request that a line says was sent."""
    printed = _REQUEST.search(line)
    return int(printed.group(1)) if printed else None


def accepts_association(line: str) -> bool:
    """Whether the line says that the PACS accepted the association."""
    return _ACCEPTED.search(line) is not None


def releases_association(line: str) -> bool:
    """Whether the line says that the tool ended the association in good order."""
    return _RELEASING.search(line) is not None


def loss_in(line: str) -> str:
    """Why a tool that asks has no association any more, if the line says so: the other side left without a reason."""
    return _CLOSED_WITHOUT_A_WORD if _LOST.search(line) else ""


def closes_connection(line: str) -> bool:
    """Whether the line says that the connection of an association is closed, for whatever reason."""
    return _CLOSED.search(line) is not None


def trouble_in(line: str) -> str:
    """Why the association failed or broke, if the line says so: rejected, aborted, timed out, or the tool's error."""
    if _OWN_ABORT.search(line):
        return ""  # the tool's own abort follows a timeout, which is the reason
    broken = _BROKEN.search(line)
    if broken:
        return broken.group(1)
    error = _ERROR.match(line)
    if error and error.group(1) == "null":  # an exception of Java without words, such as EOFException
        return _CLOSED_WITHOUT_A_WORD
    return error.group(1) if error else ""


def is_listening(line: str) -> bool:
    """Whether storescp says that it listens."""
    return _LISTENING.search(line) is not None


def says_disk_full(line: str) -> bool:
    """Whether storescp says that it could not write for want of room."""
    return _DISK_FULL.search(line) is not None


class StoredFiles:
    """The files that storescp reports as stored, told from its lines in their order.

    A rename is announced before it happens; the C-STORE response with status 0000H on the same association
    tells that it did.
    """

    def __init__(self) -> None:
        self._renamed: dict[str, str] = {}

    def path_in(self, line: str) -> str | None:
        """The path of an instance that is completely stored, when this line reports one."""
        renamed = _RENAMED.search(line)
        if renamed:
            association, path = renamed.groups()
            self._renamed[association] = path
            return None
        stored = _STORED.search(line)
        if stored is None:
            return None
        association, status = stored.groups()
        destination = self._renamed.pop(association, None)
        return destination if int(status, 16) == 0 else None
