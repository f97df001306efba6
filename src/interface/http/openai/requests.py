"""A request under `/v1`."""

from llm_backend.domain.api_keys import Access
from llm_backend.domain.ids import UserId
from llm_backend.interface.http.requests import ApiRequest


class OpenAiRequest(ApiRequest):
    """`access` says who is asking, and by which key; bodies are read as strictly as those of `/api`."""

    @property
    def access(self) -> Access:
        return self.scope["auth"]  # type: ignore[no-any-return]

    @property
    def owner(self) -> UserId:
        return self.access.user
