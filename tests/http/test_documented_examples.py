"""Every example of the documentation of the product that this one replaces, with its bodies as they stand there."""

import re
import time
from typing import Any

from tests.http.clients import PASSWORD, Client

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def is_id(value: Any) -> bool:
    return type(value) is int and 0 < value < 2**53


def is_now(value: Any) -> bool:
    return type(value) is int and abs(value - time.time()) < 60


async def test_register(client: Client) -> None:
    reply = await client.post("/api/users/register", {"username": "john_doe", "password": PASSWORD})

    assert reply.status_code == 201
    assert reply.json() == {"message": "User registered successfully"}


async def test_login(client: Client) -> None:
    await client.new_user("john_doe")

    reply = await client.post("/api/users/login", {"username": "john_doe", "password": PASSWORD})

    assert reply.status_code == 200
    assert list(reply.json()) == ["token"]
    assert reply.json()["token"].startswith("eyJhbGciOiJIUzI1NiIsInR5cCI6")


async def test_create_a_conversation(alice: Client) -> None:
    body = {"title": "My New Conversation", "model": "gpt-4o", "api_key": "your-api-key-here"}

    reply = await alice.post("/api/conversations/create", body)

    assert reply.status_code == 200
    made = reply.json()
    assert list(made) == ["conversation_id", "title", "model", "api_key", "created_time"]
    assert {key: made[key] for key in body} == body
    assert is_id(made["conversation_id"])
    assert is_now(made["created_time"])


async def test_the_history_of_a_conversation(alice: Client) -> None:
    conversation = await alice.new_conversation()
    await alice.post(f"/api/chat/{conversation}", {"message": "介绍一下RUST"})

    reply = await alice.get(f"/api/conversations/history/{conversation}")

    assert reply.status_code == 200
    history = reply.json()
    assert list(history) == ["conversation_id", "title", "model", "messages", "created_time"]
    assert is_now(history.pop("created_time"))
    assert history == {
        "conversation_id": conversation,
        "title": "My New Conversation",
        "model": "gpt-4o",
        "messages": [
            {"role": "user", "content": "介绍一下RUST", "message_id": 1},
            {"role": "assistant", "content": "Rust 是一种系统编程语言", "message_id": 2},
        ],
    }


async def test_the_list_of_conversations_is_an_array_with_the_newest_first(alice: Client) -> None:
    first = await alice.new_conversation()
    second = await alice.new_conversation(title="Another Conversation")

    reply = await alice.get("/api/conversations/list")

    assert reply.status_code == 200
    listed = reply.json()
    assert all(is_now(line.pop("created_time")) for line in listed)
    assert listed == [
        {"conversation_id": second, "title": "Another Conversation"},
        {"conversation_id": first, "title": "My New Conversation"},
    ]


async def test_delete_a_conversation(alice: Client) -> None:
    conversation = await alice.new_conversation()

    reply = await alice.post(f"/api/conversations/del/{conversation}")

    assert reply.status_code == 200
    assert reply.json() == {"message": "Conversation deleted successfully"}
    assert (await alice.get(f"/api/conversations/history/{conversation}")).status_code == 404


async def test_chat(alice: Client) -> None:
    conversation = await alice.new_conversation()

    reply = await alice.post(f"/api/chat/{conversation}", {"message": "介绍一下RUST"})

    assert reply.status_code == 200
    assert reply.headers["content-type"] == "text/event-stream"
    assert reply.text == (
        '{"event":"message","data":"R"}\n\n'
        '{"event":"message","data":"ust"}\n\n'
        '{"event":"message","data":" 是一种系统编程语言"}\n\n'
        '{"event":"done","data":"Stream finished"}\n\n'
        '{"event":"full_response","data":"Rust 是一种系统编程语言"}\n\n'
    )


async def test_create_a_knowledge_base(alice: Client) -> None:
    body = {"kb_name": "法律知识库", "embedding_model": "zhipu-embedding-3"}

    reply = await alice.post("/api/rag/kb/create", body)

    assert reply.status_code == 200
    made = reply.json()
    assert list(made) == ["success", "kb_id", "message"]
    assert UUID.fullmatch(made["kb_id"])
    assert made["success"] is True
    assert made["message"] == "知识库创建成功,使用模型: zhipu-embedding-3"


async def test_list_knowledge_bases(alice: Client) -> None:
    first = await alice.new_knowledge_base()
    body = {"kb_name": "技术文档知识库", "embedding_model": "zhipu-embedding-2"}
    second = (await alice.post("/api/rag/kb/create", body)).json()["kb_id"]

    reply = await alice.get("/api/rag/kb/list")

    assert reply.status_code == 200
    assert reply.json() == {
        "success": True,
        "kbs": [
            {"kb_id": first, "kb_name": "法律知识库", "embedding_model": "zhipu-embedding-3"},
            {"kb_id": second, "kb_name": "技术文档知识库", "embedding_model": "zhipu-embedding-2"},
        ],
        "message": "知识库列表获取成功",
    }


async def test_delete_a_knowledge_base(alice: Client) -> None:
    kb_id = await alice.new_knowledge_base()

    reply = await alice.post("/api/rag/kb/delete", {"kb_id": kb_id})

    assert reply.status_code == 200
    assert reply.json() == {"success": True, "message": "知识库删除成功"}


async def test_upload_a_document(alice: Client) -> None:
    kb_id = await alice.new_knowledge_base()

    reply = await alice.upload(kb_id)

    assert reply.status_code == 200
    made = reply.json()
    assert list(made) == ["success", "doc_id", "message"]
    assert made["success"] is True
    assert UUID.fullmatch(made["doc_id"])
    assert made["message"] == "文档上传处理成功,共分割并添加 1 个文本块"


async def test_list_documents(alice: Client) -> None:
    kb_id = await alice.new_knowledge_base()
    doc_id = await alice.new_document(kb_id)

    reply = await alice.get("/api/rag/doc/list", params={"kb_id": kb_id})

    assert reply.status_code == 200
    assert reply.json() == {
        "success": True,
        "docs": [{"doc_id": doc_id, "kb_id": kb_id, "doc_name": "合同协议.txt", "file_type": "txt"}],
        "message": "文档列表获取成功",
    }


async def test_delete_a_document(alice: Client) -> None:
    kb_id = await alice.new_knowledge_base()
    doc_id = await alice.new_document(kb_id)

    reply = await alice.post("/api/rag/doc/delete", {"kb_id": kb_id, "doc_id": doc_id})

    assert reply.status_code == 200
    assert reply.json() == {"success": True, "message": "文档删除成功"}


async def test_retrieve(alice: Client) -> None:
    kb_id = await alice.new_knowledge_base()
    doc_id = await alice.new_document(kb_id)

    reply = await alice.post("/api/rag/retrieve", {"kb_id": kb_id, "query": "什么是不可抗力条款?", "top_k": 5})

    assert reply.status_code == 200
    found = reply.json()
    assert list(found) == ["success", "results", "message"]
    assert found["success"] is True
    assert found["message"] == "检索成功"
    assert [list(result) for result in found["results"]] == [["content", "score", "doc_id", "doc_name"]]
    assert found["results"][0]["content"].startswith("不可抗力条款是指")
    assert 0 < found["results"][0]["score"] <= 1
    assert found["results"][0]["doc_id"] == doc_id
    assert found["results"][0]["doc_name"] == "合同协议.txt"


async def test_chat_with_a_knowledge_base(alice: Client) -> None:
    kb_id = await alice.new_knowledge_base()
    await alice.new_document(kb_id)
    conversation = await alice.new_conversation()
    body = {"conversation_id": conversation, "kb_id": kb_id, "message": "什么是不可抗力条款?", "top_k": 3}

    reply = await alice.post("/api/rag/chat", body)

    assert reply.status_code == 200
    assert reply.headers["content-type"] == "text/event-stream"
    assert reply.text == (
        '{"event":"message","data":"R"}\n\n'
        '{"event":"message","data":"ust"}\n\n'
        '{"event":"message","data":" 是一种系统编程语言"}\n\n'
        '{"event":"done","data":"Stream finished"}\n\n'
        '{"event":"full_response","data":"Rust 是一种系统编程语言"}\n\n'
    )


async def test_the_embedding_models(alice: Client) -> None:
    reply = await alice.get("/api/rag/models")

    assert reply.status_code == 200
    assert reply.json() == {
        "success": True,
        "models": ["zhipu-embedding-3", "zhipu-embedding-2"],
        "message": "支持的Embedding模型列表获取成功",
    }
