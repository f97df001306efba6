"""A client for the few requests that prepare or make up a measurement; it keeps its connection."""

import json
from http.client import HTTPConnection
from typing import Any, Self

TIMEOUT = 60.0
NAME, PASSWORD = "measured", "correct horse battery staple"


class Client:
    """`with Client(port) as client: client.post("/api/…", {…})`. Raises `RuntimeError` for anything but success."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        self._headers: dict[str, str] = {}

    def sign_in(self) -> str:
        """As the user that `server.prepare` made; all later requests carry the token."""
        token: str = self.post("/api/users/login", {"username": NAME, "password": PASSWORD})["token"]
        self._headers = {"authorization": f"Bearer {token}"}
        return token

    def get(self, path: str) -> Any:
        return self._ask("GET", path)

    def post(self, path: str, body: dict[str, object]) -> Any:
        return self._ask("POST", path, json.dumps(body).encode(), "application/json")

    def upload(self, path: str, fields: dict[str, str], name: str, content: bytes) -> Any:
        boundary = "boundary-of-a-benchmark"
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
            for key, value in fields.items()
        ]
        parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n')
        body = "".join(parts).encode() + content + f"\r\n--{boundary}--\r\n".encode()
        return self._ask("POST", path, body, f"multipart/form-data; boundary={boundary}")

    def _ask(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> Any:
        headers = {**self._headers, "content-type": kind} if kind else self._headers
        self._connection.request(method, path, body, headers)
        reply = self._connection.getresponse()
        content = reply.read()
        if reply.status >= 300:
            raise RuntimeError(f"{method} {path}: {reply.status} {content[:200]!r}")
        return json.loads(content)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
