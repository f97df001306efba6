"""E-mails, with the parser of the standard library: it knows every way in which they are written down."""

from email import message_from_bytes, policy
from email.message import EmailMessage, MIMEPart

from llm_backend.domain.knowledge import ParsedDocument
from llm_backend.infrastructure.parsing.canvas import Canvas, one_line
from llm_backend.infrastructure.parsing.decoding import decoded
from llm_backend.infrastructure.parsing.html import add_html

_HEAD = ("Subject", "From", "To", "Cc", "Date")


def read_mail(data: bytes, longest: int) -> ParsedDocument:
    """Its head and its body, as plain text where it has both; then the same of mails that it carries, and the names
    of what else is attached. Raises `DocumentEmpty`, `DocumentTooLarge` and `DocumentUnreadable`."""
    mail = message_from_bytes(data, policy=policy.default)
    canvas = Canvas(longest)
    _add(canvas, mail)
    return canvas.document("eml", _header(mail, "Subject"))


def _add(canvas: Canvas, mail: EmailMessage) -> None:
    canvas.paragraph("\n".join(f"{name}: {value}" for name in _HEAD if (value := _header(mail, name))))
    if (body := mail.get_body(preferencelist=("plain", "html"))) is not None:
        _add_body(canvas, body)
    for part in mail.iter_attachments():
        if name := part.get_filename():
            canvas.line(f"- {one_line(name)}")
        for inner in _carried(part):
            _add(canvas, inner)


def _carried(part: MIMEPart) -> list[EmailMessage]:
    mails = part.get_payload() if part.get_content_type() == "message/rfc822" else ()
    return [mail for mail in mails if isinstance(mail, EmailMessage)]


def _add_body(canvas: Canvas, body: MIMEPart) -> None:
    text = _text(body)
    if body.get_content_subtype() == "html":
        add_html(canvas, text)
        return
    for paragraph in text.replace("\r\n", "\n").split("\n\n"):
        canvas.paragraph(paragraph)


def _header(mail: EmailMessage, name: str) -> str:
    try:
        return one_line(str(mail.get(name, "")))
    except (LookupError, ValueError, TypeError, AttributeError):  # what the parser stumbles over in broken ones
        return ""


def _text(body: MIMEPart) -> str:
    """As it declares, which only some encodings can do without, or by what is in it."""
    content = body.get_payload(decode=True)
    assert isinstance(content, bytes)
    try:
        return content.decode(body.get_content_charset("utf-8"))
    except (LookupError, UnicodeError):
        return decoded(content)
