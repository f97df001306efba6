"""Documents on their way in: through the disk, under no name of the sender's choice, and no larger than allowed."""

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from httpx import Response

from llm_backend.application.backend import Backend
from llm_backend.domain.errors import DocumentTooLarge, UnsupportedDocument
from llm_backend.interface.http.options import HttpOptions
from tests.http.backends import PlainTextParser
from tests.http.clients import Client

UPLOAD_LIMIT = 3 * 1024 * 1024
BOUNDARY = "frontier"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


@pytest.fixture
def options(options: HttpOptions) -> HttpOptions:
    return dataclasses.replace(options, upload_limit=UPLOAD_LIMIT)


def part(head: bytes, content: bytes) -> bytes:
    return b"--%b\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n" % (BOUNDARY.encode(), head, content)


def form(*parts: bytes) -> bytes:
    return b"".join([*parts, b"--%b--\r\n" % BOUNDARY.encode()])


async def upload(user: Client, body: Any) -> Response:
    return await user.post("/api/rag/doc/upload", content=body, headers=FORM)


async def names(user: Client, kb_id: str) -> list[str]:
    listed = (await user.get(f"/api/rag/doc/list?kb_id={kb_id}")).json()["docs"]
    return [document["doc_name"] for document in listed]


async def test_a_large_file_passes_through_the_disk_in_pieces(
    alice: Client, parser: PlainTextParser, options: HttpOptions, tmp_path: Path
) -> None:
    kb_id = await alice.new_knowledge_base()
    content = "".join(f"Line {number} of a long text.\n" for number in range(80_000)).encode()

    reply = await alice.upload(kb_id, "long.txt", content)

    assert reply.status_code == 200
    assert parser.sizes == [len(content)]
    assert options.scratch is not None
    assert parser.files[0].is_relative_to(tmp_path / "uploads")
    for folder in (options.scratch, parser.files[0].parent):
        assert list(folder.iterdir()) == []
    (original,) = (tmp_path / "originals").iterdir()
    assert original.read_bytes() == content


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("../../x.txt", "x.txt"),
        ("/etc/passwd.txt", "passwd.txt"),
        (r"C:\Users\x\y.txt", "y.txt"),
        ("..\\..\\x.txt", "x.txt"),
        ("合同.txt", "合同.txt"),
    ],
)
async def test_only_the_last_component_of_a_name_counts(
    alice: Client, options: HttpOptions, tmp_path: Path, sent: str, stored: str
) -> None:
    kb_id = await alice.new_knowledge_base()
    body = form(part(b'name="kb_id"', kb_id.encode()), part(b'name="file"; filename="%b"' % sent.encode(), b"text"))

    reply = await upload(alice, body)

    assert reply.status_code == 200, reply.text
    assert await names(alice, kb_id) == [stored]
    assert options.scratch is not None
    assert [path.name for folder in (options.scratch, tmp_path) for path in folder.rglob("*.txt")] == []


@pytest.mark.parametrize("name", [b"..", b"/", b"a\x00b.txt", b"a\x1fb.txt", b"x" * 300 + b".txt", b"\xff.txt"])
async def test_names_that_are_none_are_refused(alice: Client, name: bytes) -> None:
    kb_id = await alice.new_knowledge_base()
    body = form(part(b'name="kb_id"', kb_id.encode()), part(b'name="file"; filename="%b"' % name, b"text"))

    reply = await upload(alice, body)

    assert reply.status_code == 400
    assert await names(alice, kb_id) == []


KB = part(b'name="kb_id"', b"a1b2c3d4-5678-90ab-cdef-123456789abc")
FILE = part(b'name="file"; filename="a.txt"', b"text")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        form(),
        form(FILE),
        form(part(b'name="kb_id"', b""), FILE),
        form(KB, FILE, FILE),
        form(part(b'name="kb_id"', b"\xff\xfe"), FILE),
        form(KB, part(b'name="other"', b"\xff\xfe"), FILE),
        form(part(b'name="kb_id"', b"a\x00b"), FILE),
        form(part(b'name="kb_id"', b"x" * 70_000), FILE),
        form(*[part(b'name="x%d"' % number, b"") for number in range(50)], KB, FILE),
        (KB + FILE)[:-10],
        KB + FILE,
        b"no form at all",
        b"--frontier\r\nno header\r\n\r\n--frontier--\r\n",
        bytes(range(256)),
    ],
)
async def test_forms_that_are_none_are_refused(alice: Client, options: HttpOptions, body: bytes) -> None:
    reply = await upload(alice, body)

    assert reply.status_code == 400
    assert set(reply.json()) == {"error", "code"}
    assert options.scratch is not None
    assert list(options.scratch.iterdir()) == []


@pytest.mark.parametrize(
    "rest",
    [
        (),
        (part(b'name="file"', b"not a file"),),
        (part(b'name="file"; filename=""', b""),),
        (FILE, part(b'name="attributes"', b"no JSON")),
        (FILE, part(b'name="replace"', b"perhaps")),
    ],
)
async def test_a_knowledge_base_that_is_not_there_goes_before_a_form_that_is_not_whole(
    alice: Client, rest: tuple[bytes, ...]
) -> None:
    kb_id = (await alice.new_knowledge_base()).encode()

    replies = [await upload(alice, form(part(b'name="kb_id"', each), *rest)) for each in (kb_id, b"nowhere")]

    assert [reply.status_code for reply in replies] == [400, 404]


@pytest.mark.parametrize(
    "content_type",
    [None, "application/json", "multipart/form-data", "multipart/form-data; boundary=", "\xff", "x/y; boundary=z"],
)
async def test_other_content_types_are_refused(alice: Client, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type.encode("latin-1")}

    reply = await alice.post("/api/rag/doc/upload", content=form(KB, FILE), headers=headers)

    assert reply.status_code == 400


async def test_the_order_of_the_parts_does_not_matter(alice: Client) -> None:
    kb_id = await alice.new_knowledge_base()

    reply = await upload(alice, form(FILE, part(b'name="kb_id"', kb_id.encode())))

    assert reply.status_code == 200
    assert await names(alice, kb_id) == ["a.txt"]


async def test_a_file_over_the_limit_is_refused_before_it_is_all_read(alice: Client, options: HttpOptions) -> None:
    kb_id = await alice.new_knowledge_base()
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield part(b'name="kb_id"', kb_id.encode()) + FILE[:-2]
        while sent < 10 * UPLOAD_LIMIT:
            sent += 65_536
            yield b"x" * 65_536

    reply = await upload(alice, endless())

    assert reply.status_code == 413
    assert reply.json()["code"] == "body_too_large"
    assert options.scratch is not None
    assert list(options.scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (DocumentTooLarge(), 413, "文档超出大小限制，或内容过大无法处理；请拆分后重新上传"),
        (UnsupportedDocument(), 415, "不支持该类型的文档；请另存为 PDF、DOCX、XLSX、PPTX 或纯文本后重新上传"),
    ],
)
async def test_what_the_parser_refuses_is_refused(
    backend: Backend,
    options: HttpOptions,
    parser: PlainTextParser,
    alice: Client,
    error: Exception,
    status: int,
    text: str,
) -> None:
    parser.error = error
    kb_id = await alice.new_knowledge_base()

    reply = await alice.upload(kb_id)

    assert reply.status_code == status
    assert reply.json()["error"] == text
    assert await names(alice, kb_id) == []
