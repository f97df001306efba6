"""Clients of the API: one that speaks for a user, and the things that a user has."""

import asyncio
import itertools
import ssl
from dataclasses import dataclass
from typing import Any

from httpx import AsyncClient, Response

PASSWORD = "SecureP@ssw0rd!"
CONTRACT = "不可抗力条款是指合同中约定的因不可预见、不可避免、不可克服的客观情况。"
# For clients that speak no TLS: to read the certificates of all authorities takes 28 ms of CPU time for each client.
NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Client:
    """An HTTP client, and the token that it sends along, if any."""

    http: AsyncClient
    token: str | None = None

    async def get(self, path: str, **options: Any) -> Response:
        return await self.request("GET", path, **options)

    async def post(self, path: str, json: object = None, **options: Any) -> Response:
        if json is not None:
            options["json"] = json
        return await self.request("POST", path, **options)

    async def request(self, method: str, path: str, **options: Any) -> Response:
        headers = dict(options.pop("headers", {}))
        if self.token:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        return await self.http.request(method, path, headers=headers, **options)

    async def new_user(self, name: str | None = None) -> "Client":
        """The same client, speaking for a user who has just been registered."""
        credentials = {"username": name or f"user-{next(_numbers)}", "password": PASSWORD}
        registered = await self.http.post("/api/users/register", json=credentials)
        assert registered.status_code == 201, registered.text
        login = await self.http.post("/api/users/login", json=credentials)
        return Client(self.http, login.json()["token"])

    async def new_conversation(self, **fields: Any) -> int:
        body = {"title": "My New Conversation", "model": "gpt-4o", **fields}
        reply = await self.post("/api/conversations/create", body)
        assert reply.status_code == 200, reply.text
        number: int = reply.json()["conversation_id"]
        return number

    async def new_key(self, **fields: Any) -> str:
        """The id of an API key."""
        reply = await self.post("/api/keys", {"name": "A key", **fields})
        assert reply.status_code == 201, reply.text
        identifier: str = reply.json()["key_id"]
        return identifier

    async def with_key(self, **fields: Any) -> "Client":
        """The same user, speaking with an API key."""
        reply = await self.post("/api/keys", {"name": "A key", **fields})
        assert reply.status_code == 201, reply.text
        return Client(self.http, reply.json()["key"])

    async def new_knowledge_base(self, name: str = "法律知识库") -> str:
        reply = await self.post("/api/rag/kb/create", {"kb_name": name})
        assert reply.status_code == 200, reply.text
        identifier: str = reply.json()["kb_id"]
        return identifier

    async def upload(
        self, kb_id: str, name: str = "合同协议.txt", content: bytes | None = None, **options: Any
    ) -> Response:
        files = {"file": (name, CONTRACT.encode() if content is None else content)}
        return await self.post("/api/rag/doc/upload", data={"kb_id": kb_id}, files=files, **options)

    async def submit(self, kb_id: str, name: str = "合同协议.txt", content: bytes | None = None, **options: Any) -> str:
        """A document that will be read in."""
        reply = await self.upload(kb_id, name, content, params={"wait": "false"}, **options)
        assert reply.status_code == 202, reply.text
        identifier: str = reply.json()["doc_id"]
        return identifier

    async def status(self, doc_id: str) -> dict[str, Any]:
        reply = await self.get("/api/rag/doc/status", params={"doc_id": doc_id})
        assert reply.status_code == 200, reply.text
        status: dict[str, Any] = reply.json()
        return status

    async def settled(self, doc_id: str) -> dict[str, Any]:
        """The status of a document once it is ready or has failed."""
        events = await self.get("/api/rag/doc/events", params={"doc_id": doc_id})
        assert events.status_code == 200, events.text
        return await self.status(doc_id)

    async def new_document(self, kb_id: str) -> str:
        reply = await self.upload(kb_id)
        assert reply.status_code == 200, reply.text
        identifier: str = reply.json()["doc_id"]
        return identifier

    async def new_file(self, name: str = "terms.txt", content: bytes = b"Force majeure releases both.") -> str:
        data, files = {"purpose": "assistants"}, {"file": (name, content)}
        reply = await self.post("/v1/files", data=data, files=files)
        assert reply.status_code == 200, reply.text
        identifier: str = reply.json()["id"]
        return identifier

    async def new_vector_store(self, **fields: Any) -> str:
        reply = await self.post("/v1/vector_stores", fields)
        assert reply.status_code == 200, reply.text
        identifier: str = reply.json()["id"]
        return identifier

    async def new_file_batch(self, store: str, files: list[str]) -> str:
        """The id of a batch, all of whose files have been read in."""
        path = f"/v1/vector_stores/{store}/file_batches"
        reply = await self.post(path, {"file_ids": files})
        assert reply.status_code == 200, reply.text
        identifier: str = reply.json()["id"]
        async with asyncio.timeout(60):
            while True:
                if (await self.get(f"{path}/{identifier}")).json()["status"] != "in_progress":
                    return identifier
                await asyncio.sleep(0.02)

    async def history(self, conversation: int) -> list[dict[str, Any]]:
        reply = await self.get(f"/api/conversations/history/{conversation}")
        assert reply.status_code == 200, reply.text
        messages: list[dict[str, Any]] = reply.json()["messages"]
        return messages
