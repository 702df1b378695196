"""Mails with the files that are attached to them."""

from __future__ import annotations

from email.message import EmailMessage

DATE = "Mon, 06 May 2024 10:00:00 +0200"


def mail(body: str = "See the files.", subject: str = "The pump", **headers: str) -> EmailMessage:
    """A mail of plain text; other headers by name, ``_`` for ``-``."""
    message = EmailMessage()
    message["Subject"] = subject
    message["From"] = "Ada <ada@example.org>"
    message["To"] = "bob@example.org"
    message["Date"] = DATE
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    message.set_content(body)
    return message


def attach(message: EmailMessage, **files: bytes | str | EmailMessage) -> EmailMessage:
    """The mail with files; ``_`` in a name stands for its last dot. A mail is attached as such."""
    for key, content in files.items():
        name = ".".join(key.rsplit("_", 1))
        if isinstance(content, EmailMessage):
            message.add_attachment(content, filename=name)
        else:
            data = content if isinstance(content, bytes) else content.encode()
            message.add_attachment(data, maintype="application", subtype="octet-stream", filename=name)
    message.set_boundary(f"part-{message['subject'].encode().hex()[:40]}")  # the same bytes each time
    return message
