"""All that is stored, as one thing to open, to replace and to close."""

from typing import Protocol

from llm_backend.application.ports.answer_journal import AnswerJournal
from llm_backend.application.ports.jobs import Jobs
from llm_backend.application.ports.sessions import SessionViews
from llm_backend.application.ports.unit_of_work import UnitOfWorkFactory
from llm_backend.application.ports.views import ConversationViews, KnowledgeViews


class Store(Protocol):
    """One database, behind its ports: what one of them has committed, all of them see."""

    @property
    def transactions(self) -> UnitOfWorkFactory: ...

    @property
    def session_views(self) -> SessionViews: ...

    @property
    def conversation_views(self) -> ConversationViews: ...

    @property
    def knowledge_views(self) -> KnowledgeViews: ...

    @property
    def journal(self) -> AnswerJournal: ...

    @property
    def jobs(self) -> Jobs: ...

    async def check(self) -> None:
        """Raises `Unavailable` when the database cannot be reached."""
