"""Which models answer from documents, and which put questions in other words."""

from llm_backend.application.asking_apart import AskApart
from llm_backend.application.composing import ComposeRequest
from llm_backend.application.rewriting import RewriteQuestion
from llm_backend.config import Settings
from llm_backend.infrastructure.llm.catalogue import is_written_out


def rewriting(settings: Settings, compose: ComposeRequest, ask: AskApart) -> RewriteQuestion | None:
    """By the model that is asked, unless it is the demo, which can only quote."""
    if not settings.rag.rewrite_follow_ups:
        return None

    def is_able(model: str) -> bool:
        provider = next((one for one in settings.llm.providers if one.serves(model)), None)
        return provider is None or provider.kind != "demo"

    return RewriteQuestion(compose, ask, is_able, settings.rag.rewrite_timeout)


def answering_model(settings: Settings) -> str:
    """A name that somebody serves, if there is any; otherwise asking it says so."""
    if settings.rag.answering_model:
        return settings.rag.answering_model
    names = (name for provider in settings.llm.providers for name in provider.models)
    return next((name for name in names if is_written_out(name)), "")
