"""Files through the real server: real formats, several at once, too large ones, and bombs."""

import asyncio
import time
from io import BytesIO
from urllib.parse import urlsplit
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from tests.files import a_docx, a_pdf
from tests.http.clients import Client
from tests.live import ServerProcess
from tests.system.streams import SOON, STRICT, answered

BOMB_BOUND = 30.0  # seconds


async def found(client: Client, shelf: str, query: str) -> list[str]:
    reply = await client.post("/api/rag/retrieve", {"kb_id": shelf, "query": query, "top_k": 3})
    assert reply.status_code == 200, reply.text
    return [passage["content"] for passage in reply.json()["results"]]


async def listed(client: Client, shelf: str) -> dict[str, str]:
    documents = (await client.get("/api/rag/doc/list", params={"kb_id": shelf})).json()["docs"]
    return {document["doc_name"]: document["file_type"] for document in documents}


@pytest.mark.timeout(180)
async def test_documents_of_several_kinds_are_found_and_quoted(alice: Client) -> None:
    shelf = await alice.new_knowledge_base()
    files = {
        "合同.docx": a_docx("# Holidays", "Everybody gets thirty days of holiday a year.", "不可抗力条款。"),
        "warranty.pdf": a_pdf("The warranty lasts for seven years.", "It covers the gearbox as well."),
        "notes.md": b"# Notes\n\nThe canteen opens at noon.",
    }

    replies = await asyncio.gather(*(alice.upload(shelf, name, content) for name, content in files.items()))

    assert [reply.status_code for reply in replies] == [200] * 3
    assert await listed(alice, shelf) == {"合同.docx": "docx", "warranty.pdf": "pdf", "notes.md": "md"}
    assert "thirty days" in (await found(alice, shelf, "How many days of holiday?"))[0]
    assert "seven years" in (await found(alice, shelf, "How long does the warranty last?"))[0]
    conversation = await alice.new_conversation(model="demo")
    question = {"conversation_id": conversation, "kb_id": shelf, "message": "When does the canteen open?"}
    reply = await alice.post("/api/rag/chat", question, headers=STRICT)
    assert "event: citations\n" in reply.text
    assert '"doc_name":"notes.md"' in reply.text
    assert '"verified":true' in reply.text


async def test_many_uploads_at_once_all_arrive(alice: Client) -> None:
    shelf = await alice.new_knowledge_base()
    texts = {f"{number}.txt": f"The word number {number} is unique{number}x." for number in range(12)}

    replies = await asyncio.gather(*(alice.upload(shelf, name, text.encode()) for name, text in texts.items()))

    assert {reply.status_code for reply in replies} == {200}
    assert set(await listed(alice, shelf)) == set(texts)
    for number in range(12):
        assert f"unique{number}x" in (await found(alice, shelf, f"unique{number}x"))[0]


async def test_a_file_over_the_limit_is_refused_and_not_listed(alice: Client) -> None:
    shelf = await alice.new_knowledge_base()

    reply = await alice.upload(shelf, "large.txt", b"x" * (3 * 1024 * 1024))

    assert reply.status_code == 413
    assert reply.json()["code"] == "body_too_large"
    assert await listed(alice, shelf) == {}


@pytest.mark.parametrize("framing", ["Content-Length: 107374182400", "Transfer-Encoding: chunked"])
async def test_too_large_a_body_is_refused_before_all_of_it_is_read(
    alice: Client, server: ServerProcess, framing: str
) -> None:
    """The client never sends the rest; with a length it is refused at once, with chunks as soon as it is too much."""
    shelf = await alice.new_knowledge_base()
    address = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    head = (
        f"POST /api/rag/doc/upload HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {alice.token}\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\n{framing}\r\n\r\n"
    )
    start = (
        f'--b\r\nContent-Disposition: form-data; name="kb_id"\r\n\r\n{shelf}\r\n'
        '--b\r\nContent-Disposition: form-data; name="file"; filename="x.txt"\r\n\r\n'
    ).encode()
    content = start + b"x" * (3 * 1024 * 1024)
    body = b"%x\r\n%b\r\n" % (len(content), content) if "chunked" in framing else start

    async with asyncio.timeout(SOON):
        writer.write(head.encode() + body)
        status = await reader.readline()
        writer.close()

    assert status.startswith(b"HTTP/1.1 413 ")
    assert await listed(alice, shelf) == {}


def a_bomb() -> bytes:
    """A Word document whose text is a gibibyte of zeros."""
    file = BytesIO()
    with ZipFile(file, "w", ZIP_DEFLATED, compresslevel=1) as archive, ZipFile(BytesIO(a_docx("boom"))) as good:
        for name in good.namelist():
            if name != "word/document.xml":
                archive.writestr(name, good.read(name))
        with archive.open("word/document.xml", "w", force_zip64=True) as part:
            for _ in range(1024):
                part.write(bytes(1024 * 1024))
    return file.getvalue()


@pytest.mark.timeout(180)
async def test_a_bomb_is_refused_in_time_and_the_server_goes_on_meanwhile(alice: Client) -> None:
    bomb = await asyncio.to_thread(a_bomb)
    shelf = await alice.new_knowledge_base()
    conversation = await alice.new_conversation(model="demo")

    began = time.monotonic()
    refused, beside = await asyncio.gather(
        alice.upload(shelf, "bomb.docx", bomb, timeout=2 * BOMB_BOUND), answered(alice, conversation)
    )

    assert refused.status_code in {400, 413}
    assert time.monotonic() - began < BOMB_BOUND
    assert beside.status_code == 200
    assert await listed(alice, shelf) == {}
    assert (await alice.upload(shelf)).status_code == 200
