"""All that is stored, as one thing to open, to replace and to close."""

from typing import Protocol

from llm_backend.application.ports.answer_journal import AnswerJournal
from llm_backend.application.ports.answer_leases import AnswerLeases
from llm_backend.application.ports.api_keys import ApiKeyViews
from llm_backend.application.ports.file_views import FileViews
from llm_backend.application.ports.jobs import Jobs
from llm_backend.application.ports.responses import ResponseViews
from llm_backend.application.ports.sealed_secrets import SealedSecrets
from llm_backend.application.ports.sessions import SessionViews
from llm_backend.application.ports.unit_of_work import UnitOfWorkFactory
from llm_backend.application.ports.usage import UsageLog
from llm_backend.application.ports.views import ConversationViews, KnowledgeViews


class Store(Protocol):
    """One database, behind its ports: what one of them has committed, all of them see."""

    @property
    def transactions(self) -> UnitOfWorkFactory: ...

    @property
    def session_views(self) -> SessionViews: ...

    @property
    def api_key_views(self) -> ApiKeyViews: ...

    @property
    def usage(self) -> UsageLog: ...

    @property
    def conversation_views(self) -> ConversationViews: ...

    @property
    def knowledge_views(self) -> KnowledgeViews: ...

    @property
    def file_views(self) -> FileViews: ...

    @property
    def response_views(self) -> ResponseViews: ...

    @property
    def journal(self) -> AnswerJournal: ...

    @property
    def leases(self) -> AnswerLeases:
        """Of the same process as the journal."""

    @property
    def sealed_secrets(self) -> SealedSecrets: ...

    @property
    def jobs(self) -> Jobs: ...

    async def check(self) -> None:
        """Raises `Unavailable` when the database cannot be reached."""
