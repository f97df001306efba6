"""What is in a document: its text, its chunks, and the file as it was uploaded."""

import pytest

from llm_backend.application.contents import MOST_CHARACTERS
from tests.http.clients import Client

NAME = '合同 "a" b.txt'
TEXT = "第一段 👩‍👩‍👧。\n\nSecond."


async def a_document(user: Client, text: str = TEXT, name: str = NAME) -> str:
    reply = await user.upload(await user.new_knowledge_base(), name, text.encode())
    doc_id: str = reply.json()["doc_id"]
    return doc_id


async def test_the_content_of_a_document_is_its_text_with_its_blocks(alice: Client) -> None:
    doc_id = await a_document(alice)

    reply = await alice.get("/api/rag/doc/content", params={"doc_id": doc_id})

    place = {"start": 0, "end": len(TEXT), "headings": [], "page": None, "slide": None, "sheet": None}
    assert reply.status_code == 200
    assert reply.headers["cache-control"] == "no-store"
    assert reply.json() == {
        "success": True,
        "doc_id": doc_id,
        "doc_name": NAME,
        "file_type": "txt",
        "text": TEXT,
        "start": 0,
        "end": len(TEXT),
        "length": len(TEXT),
        "blocks": [place],
        "message": "文档内容获取成功",
    }


@pytest.mark.parametrize(("start", "end"), [(0, 3), (4, 9), (5, 5), (0, 10**6), (10**6, 10**7), (2, None)])
async def test_a_part_of_the_content_is_counted_in_code_points(alice: Client, start: int, end: int | None) -> None:
    doc_id = await a_document(alice)

    params = {"doc_id": doc_id, "start": start} | ({} if end is None else {"end": end})
    part = (await alice.get("/api/rag/doc/content", params=params)).json()

    assert part["text"] == TEXT[start:end]
    begin = min(start, len(TEXT))
    assert (part["start"], part["end"], part["length"]) == (begin, begin + len(part["text"]), len(TEXT))


async def test_a_long_text_comes_in_parts(alice: Client) -> None:
    text = "长" * MOST_CHARACTERS + "the rest"
    doc_id = await a_document(alice, text)

    first = (await alice.get("/api/rag/doc/content", params={"doc_id": doc_id})).json()
    second = (await alice.get("/api/rag/doc/content", params={"doc_id": doc_id, "start": first["end"]})).json()

    assert first["text"] + second["text"] == text
    assert second["end"] == second["length"] == len(text)


async def test_the_chunks_of_a_document_are_exact_parts_of_its_content(alice: Client) -> None:
    doc_id = await a_document(alice, "One sentence. " * 500)

    content = (await alice.get("/api/rag/doc/content", params={"doc_id": doc_id})).json()
    reply = (await alice.get("/api/rag/doc/chunks", params={"doc_id": doc_id})).json()

    chunks = reply["chunks"]
    assert (reply["success"], reply["doc_id"], reply["total"]) == (True, doc_id, len(chunks))
    assert [chunk["position"] for chunk in chunks] == list(range(len(chunks))) != [0]
    assert all(content["text"][chunk["start"] : chunk["end"]] == chunk["text"] for chunk in chunks)
    assert chunks[0].keys() == {"position", "start", "end", "text", "headings", "page", "slide", "sheet"}


async def test_chunks_can_be_read_page_by_page(alice: Client) -> None:
    doc_id = await a_document(alice, "One sentence. " * 1000)
    whole = (await alice.get("/api/rag/doc/chunks", params={"doc_id": doc_id})).json()

    params = {"doc_id": doc_id, "limit": 2}
    first = (await alice.get("/api/rag/doc/chunks", params=params)).json()
    second = (await alice.get("/api/rag/doc/chunks", params={**params, "after": 1})).json()

    assert first["chunks"] + second["chunks"] == whole["chunks"][:4]
    assert first["total"] == whole["total"] > 4


async def test_the_original_is_the_file_as_it_came_and_is_not_shown_but_saved(alice: Client) -> None:
    doc_id = await a_document(alice, "<script>alert(1)</script>", "页 <b>.html")

    reply = await alice.get("/api/rag/doc/content", params={"doc_id": doc_id, "original": "true"})

    assert reply.status_code == 200
    assert reply.content == b"<script>alert(1)</script>"
    assert reply.headers["content-type"] == "application/octet-stream"
    assert reply.headers["content-length"] == "25"
    assert reply.headers["content-disposition"] == "attachment; filename*=UTF-8''%E9%A1%B5%20%3Cb%3E.html"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["content", "chunks", "content?original=true"])
async def test_what_is_deleted_or_failed_has_no_contents(alice: Client, path: str) -> None:
    kb_id = await alice.new_knowledge_base()
    deleted = (await alice.upload(kb_id)).json()["doc_id"]
    await alice.post("/api/rag/doc/delete", {"kb_id": kb_id, "doc_id": deleted})
    failed = await alice.submit(kb_id, content=b"\xff")
    await alice.settled(failed)

    for doc_id in (deleted, failed):
        reply = await alice.get(f"/api/rag/doc/{path}{'&' if '?' in path else '?'}doc_id={doc_id}")
        assert (reply.status_code, reply.json()["code"]) == (404, "document_not_found")


@pytest.mark.parametrize(
    "query", ["content?start=-1", "content?start=5&end=4", "chunks?limit=0", "chunks?limit=1001", "chunks?after=-2"]
)
async def test_what_is_no_range_is_refused(alice: Client, query: str) -> None:
    reply = await alice.get(f"/api/rag/doc/{query}&doc_id={await a_document(alice)}")

    assert (reply.status_code, reply.json()["code"]) == (400, "invalid_range")


@pytest.mark.parametrize("query", ["content?start=x", "content?end=1.5", "chunks?after=", "content?original=perhaps"])
async def test_what_is_no_number_is_refused(alice: Client, query: str) -> None:
    reply = await alice.get(f"/api/rag/doc/{query}&doc_id={await a_document(alice)}")

    assert (reply.status_code, reply.json()["code"]) == (400, "invalid_parameter")


@pytest.mark.parametrize("query", [f"content?start={10**30}", f"content?end={2**70}", f"chunks?after={2**63}"])
async def test_numbers_of_any_size_do_no_harm(alice: Client, query: str) -> None:
    reply = await alice.get(f"/api/rag/doc/{query}&doc_id={await a_document(alice)}")

    assert reply.status_code in {200, 400}
