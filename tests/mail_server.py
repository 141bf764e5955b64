"""A mail server that keeps what it is sent."""

import socketserver
import threading
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from types import TracebackType
from typing import Self


@dataclass(frozen=True)
class Mail:
    """A message and whom it was for."""

    recipients: tuple[str, ...]
    message: EmailMessage

    @property
    def text(self) -> str:
        """Its subject and its text."""
        return f"{self.message['Subject']}\n{self._body('plain')}"

    @property
    def html(self) -> str:
        """The same as HTML."""
        return self._body("html")

    def _body(self, kind: str) -> str:
        body = self.message.get_body((kind,))
        assert body is not None
        return str(body.get_content())


class MailServer:
    """SMTP (RFC 5321), as much of it as a client needs that sends one message without extensions."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []

    def __enter__(self) -> Self:
        mails = self.mails

        class Session(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self._say("220 ready")
                recipients: list[str] = []
                while line := self.rfile.readline().strip():
                    command = line.upper()
                    if command.startswith(b"RCPT TO:"):
                        recipients.append(line[8:].decode().strip(" <>"))
                    if command == b"DATA":
                        self._say("354 go on")
                        mails.append(Mail(tuple(recipients), self._message()))
                    self._say("221 goodbye" if command == b"QUIT" else "250 done")
                    if command == b"QUIT":
                        return

            def _message(self) -> EmailMessage:
                lines: list[bytes] = []
                while (line := self.rfile.readline()) not in (b".\r\n", b""):
                    lines.append(line.removeprefix(b"."))
                return message_from_bytes(b"".join(lines), policy=policy.default)

            def _say(self, text: str) -> None:
                self.wfile.write(f"{text}\r\n".encode())

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def settings(self) -> dict[str, object]:
        """Where it is, as system.json says it."""
        return {"SmtpHost": "127.0.0.1", "SmtpPort": self._server.server_address[1]}
