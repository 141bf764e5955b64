"""The email at the end, as a mail server sees it; and the folder that receives, as the disk has it."""

import email
import email.policy
import shutil
import socket
import socketserver
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from types import TracebackType

import pytest

from niffler.errors import GaveUpError
from niffler.mail import send_report
from niffler.storage import is_empty, missing_folders, open_storage, remove_parts

TO = "manager@hospital.example"


@dataclass
class Delivery:
    """One email as it was handed to the server."""

    sender: str = ""
    recipients: list[str] = field(default_factory=list)
    content: bytes = b""

    @property
    def message(self) -> EmailMessage:
        return email.message_from_bytes(self.content, policy=email.policy.default)


class _Session(socketserver.StreamRequestHandler):
    """As much of RFC 5321 as a client needs; ``server.replies`` has other replies for some commands."""

    server: "MailServer"

    def handle(self) -> None:
        if not self.reply("connect", "220 hospital.example"):
            return
        delivery = Delivery()
        while line := self.rfile.readline():
            verb = line.split()[0].upper().decode()
            argument = line.decode().partition(":")[2].strip(" <>\r\n").partition(">")[0]
            if verb == "QUIT":
                self.reply(verb, "221 bye")
                return
            if not self.reply(verb, "354 go ahead" if verb == "DATA" else "250 ok"):
                if verb in self.server.replies:
                    continue
                return
            if verb == "MAIL":
                delivery.sender = argument
            elif verb == "RCPT":
                delivery.recipients.append(argument)
            elif verb == "DATA":
                while (text := self.rfile.readline()) != b".\r\n":
                    delivery.content += text.removeprefix(b".") if text.startswith(b"..") else text
                self.server.deliveries.append(delivery)
                self.reply("content", "250 taken")

    def reply(self, verb: str, usual: str) -> bool:
        """Answer a command; whether the answer was the usual one."""
        answer = self.server.replies.get(verb, usual)
        self.wfile.write(f"{answer}\r\n".encode() if answer else b"")
        return answer == usual


class MailServer(socketserver.ThreadingTCPServer):
    """A mail server on a free port that keeps what it is given."""

    daemon_threads = False
    allow_reuse_address = True

    def __init__(self, replies: Mapping[str, str] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.port = int(self.server_address[1])
        self.replies = dict(replies or {})
        self.deliveries: list[Delivery] = []
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> "MailServer":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


@pytest.fixture
def server() -> Iterator[MailServer]:
    with MailServer() as running:
        yield running


def send(port: int, *, to: str = TO, subject: str = "Niffler", text: str = "3 rows: retrieved 3") -> str:
    return send_report("127.0.0.1", port, to, subject, text)


# The email


def test_the_email_reaches_the_server_with_subject_and_text(server: MailServer) -> None:
    text = "3 rows: retrieved 2, failed 1\nimages are in /opt/data/new-study\nit took 2 h"
    assert send(server.port, subject="Niffler [EXTRACTION COMPLETE] empi.csv", text=text) == ""
    [delivery] = server.deliveries
    assert delivery.recipients == [TO]
    assert delivery.message["To"] == TO
    assert delivery.message["Subject"] == "Niffler [EXTRACTION COMPLETE] empi.csv"
    assert delivery.message.get_content().splitlines() == text.splitlines()


def test_an_email_with_html_has_its_text_first_for_those_who_do_not_show_it(server: MailServer) -> None:
    assert send_report("127.0.0.1", server.port, TO, "Niffler", "3 rows", "<p>3 rows</p>") == ""
    [delivery] = server.deliveries
    assert [part.get_content_type() for part in delivery.message.walk()] == [
        "multipart/alternative", "text/plain", "text/html",
    ]  # fmt: skip
    assert [part.get_content().strip() for part in delivery.message.iter_parts()] == ["3 rows", "<p>3 rows</p>"]


def test_the_email_has_a_sender_of_this_machine(server: MailServer) -> None:
    assert send(server.port) == ""
    [delivery] = server.deliveries
    assert delivery.sender.endswith(f"@{socket.getfqdn()}")
    assert delivery.message["From"] == delivery.sender


def test_any_alphabet_and_lines_that_begin_with_a_dot_arrive_as_they_are(server: MailServer) -> None:
    text = ".hidden\n..\nStudien für Müller, 研究\n.\nend"
    assert send(server.port, subject="Liste für Müller", text=text) == ""
    [delivery] = server.deliveries
    assert delivery.message["Subject"] == "Liste für Müller"
    assert delivery.message.get_content().splitlines() == text.splitlines()


def test_the_email_goes_to_several_people(server: MailServer) -> None:
    assert send(server.port, to="a@hospital.example, Bo Lee <b@hospital.example>") == ""
    assert server.deliveries[0].recipients == ["a@hospital.example", "b@hospital.example"]


def test_a_server_that_is_not_there_is_a_reason_and_no_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can take the port meanwhile
        reason = send(int(taken.getsockname()[1]))
    assert reason.startswith("the mail server 127.0.0.1:")
    assert reason.endswith("see SmtpHost and SmtpPort in system.json")
    assert "\n" not in reason


def test_a_host_that_cannot_be_one_is_a_reason_and_no_error() -> None:
    for host in ("a..b", "x" * 70 + ".example"):
        assert f"the mail server {host}:25 did not take it" in send_report(host, 25, TO, "subject", "text")


@pytest.mark.parametrize(
    ("verb", "reply", "said"),
    [
        ("connect", "554 no service here", "no service here"),
        ("connect", "", "onnection"),
        ("MAIL", "530 log in first", "log in first"),
        ("RCPT", "550 no such mailbox", "no such mailbox"),
        ("DATA", "451 out of disk", "out of disk"),
        ("content", "552 too much", "too much"),
        ("MAIL", "550-no\r\n550 relaying", "relaying"),
    ],
)
def test_a_server_that_refuses_is_a_reason_in_one_line(verb: str, reply: str, said: str) -> None:
    with MailServer({verb: reply}) as refusing:
        reason = send(refusing.port)
    assert reason.startswith(f"the mail server 127.0.0.1:{refusing.port} did not take it (")
    assert said in reason
    assert "\n" not in reason


@pytest.mark.parametrize("to", ["", "nobody\nBcc: all@hospital.example", "müller@hospital.example"])
def test_an_address_that_cannot_be_used_is_a_reason_and_nothing_is_sent(server: MailServer, to: str) -> None:
    assert send(server.port, to=to) != ""
    assert server.deliveries == []


# The folder that receives


def test_a_folder_with_room_can_be_used(tmp_path: Path) -> None:
    open_storage(tmp_path, 0.0).check()


def test_a_disk_with_less_free_than_asked_gives_up_and_names_folder_and_setting(tmp_path: Path) -> None:
    storage = open_storage(tmp_path, 1e9)
    with pytest.raises(
        GaveUpError, match=r"the disk is full: .* GB free, MinFreeDiskGB is 1e\+09; make room"
    ) as caught:
        storage.check()
    assert str(caught.value).startswith(f"{tmp_path}: ")
    assert caught.value.exit_code == 4


def test_gigabytes_are_what_is_compared(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free / 1e9
    open_storage(tmp_path, free / 2).check()
    with pytest.raises(GaveUpError):
        open_storage(tmp_path, free * 2).check()


def test_a_folder_that_is_gone_gives_up(tmp_path: Path) -> None:
    folder = tmp_path / "storage"
    folder.mkdir()
    storage = open_storage(folder, 0.0)
    folder.rmdir()
    with pytest.raises(GaveUpError, match="cannot be used any more: No such file"):
        storage.check()


def test_another_folder_in_the_same_place_gives_up(tmp_path: Path) -> None:
    folder = tmp_path / "storage"
    folder.mkdir()
    storage = open_storage(folder, 0.0)
    folder.rename(tmp_path / "unmounted")
    folder.mkdir()
    with pytest.raises(GaveUpError, match="is not the folder that it was at the start; was its disk unmounted"):
        storage.check()


def test_a_folder_is_empty_until_something_is_in_it(tmp_path: Path) -> None:
    assert is_empty(tmp_path)
    (tmp_path / "patient").mkdir()
    assert not is_empty(tmp_path)


def test_only_the_half_files_of_a_dead_receiver_are_removed(tmp_path: Path) -> None:
    kept = [tmp_path / "image.dcm", tmp_path / "part", tmp_path / "patient" / "image.part"]
    kept[-1].parent.mkdir()
    halves = [tmp_path / "1.2.3.part", tmp_path / "1.2.4.part"]
    for path in (*kept, *halves):
        path.write_bytes(b"")
    assert remove_parts(tmp_path) == 2
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in halves)
    assert remove_parts(tmp_path) == 0


@pytest.mark.parametrize("to", ["jane@", "Jane Doe <", "a@b.example, <"])
def test_a_mistyped_address_is_a_reason_and_no_error(to: str) -> None:
    assert send_report("127.0.0.1", 1, to, "subject", "text")


def test_folders_of_finished_studies_that_are_gone_are_counted(tmp_path: Path) -> None:
    (tmp_path / "P1" / "1.2").mkdir(parents=True)
    studies = [("P1", "1.2"), ("P1", "1.3"), ("a/b", "1.4")]
    assert missing_folders(tmp_path, "{00100020}/{0020000D}/{0020000E}/{00080018}.dcm", studies) == (2, 1)
    assert missing_folders(tmp_path, "{00080018}.dcm", studies) == (0, 0)
