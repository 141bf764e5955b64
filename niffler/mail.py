"""An email about a run."""

import getpass
import smtplib
import socket
from email.message import EmailMessage

_SECONDS = 30.0
_GREETING_SECONDS = 10.0


def send_report(host: str, port: int, to: str, subject: str, text: str, html: str = "") -> str:
    """Send it; returns an empty text, or in one line why it could not be sent."""
    message = EmailMessage()
    try:
        message["From"] = f"{getpass.getuser()}@{socket.getfqdn()}"
        message["To"] = to
        message["Subject"] = subject
        message.set_content(text)
        if html:
            message.add_alternative(html, subtype="html")
        with smtplib.SMTP(host, port, timeout=_SECONDS) as server:
            server.send_message(message)
    except (OSError, smtplib.SMTPException, ValueError, LookupError, AttributeError) as error:
        # An address that is none makes the email package raise nearly anything.
        reason = str(error).replace("\n", " ")
        return f"the mail server {host}:{port} did not take it ({reason}); see SmtpHost and SmtpPort in system.json"
    return ""


def fault_of_server(host: str, port: int) -> str:
    """Why the mail server cannot be used; empty where it answers."""
    try:
        with smtplib.SMTP(host, port, timeout=_GREETING_SECONDS):
            return ""
    except (OSError, smtplib.SMTPException, ValueError) as error:
        return f"the mail server {host}:{port} does not answer ({error}); see SmtpHost and SmtpPort in system.json"
