"""The models that a user can ask: language models, embedding models, and each of their knowledge bases."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from llm_backend.application.ports.completions import Completions
from llm_backend.application.ports.embedder import Embedders
from llm_backend.application.ports.model_catalogue import ListedModel, ModelCatalogue
from llm_backend.application.ports.views import KnowledgeViews
from llm_backend.domain.conversations import check_model
from llm_backend.domain.errors import ApiKeyRequired, KnowledgeBaseNotFound, UnknownModel
from llm_backend.domain.ids import KnowledgeBaseId, UserId
from llm_backend.domain.knowledge import KnowledgeBase

KNOWLEDGE_MODEL = "kb:"  # and the id of a knowledge base: the model that answers from it
OURS = "llm-backend"
NOBODY_ANSWERS = "No model answers for knowledge bases here: rag.answering_model has to name one"


def knowledge_base_in(model: str) -> KnowledgeBaseId | None:
    """The knowledge base that a model stands for, if it does."""
    return KnowledgeBaseId(model.removeprefix(KNOWLEDGE_MODEL)) if model.startswith(KNOWLEDGE_MODEL) else None


@dataclass(frozen=True, slots=True)
class ListModels:
    """All that can be listed; patterns such as `gpt-*` may serve more."""

    catalogue: ModelCatalogue
    embedders: Embedders
    knowledge: KnowledgeViews

    async def __call__(self, owner: UserId) -> Sequence[ListedModel]:
        listed = [*await self.catalogue.models(), *self._embedding_models()]
        listed += map(_model_of, await self.knowledge.knowledge_bases(owner))
        return list({model.id: model for model in reversed(listed)}.values())[::-1]  # of two by one name, the first

    def _embedding_models(self) -> Iterator[ListedModel]:
        return (ListedModel(id=name, owned_by=OURS) for name in self.embedders.names())


@dataclass(frozen=True, slots=True)
class FindModel:
    """One model, whether it is listed or only served."""

    list_models: ListModels
    completions: Completions

    async def __call__(self, owner: UserId, name: str) -> ListedModel:
        """Raises `UnknownModel`."""
        if (knowledge_base := knowledge_base_in(name)) is not None:
            return await self._of_knowledge(owner, knowledge_base)
        check_model(name)
        for model in await self.list_models(owner):
            if model.id == name:
                return model
        self._check_served(name)
        return ListedModel(id=name, owned_by=OURS)

    async def _of_knowledge(self, owner: UserId, knowledge_base: KnowledgeBaseId) -> ListedModel:
        try:
            return _model_of(await self.list_models.knowledge.knowledge_base(owner, knowledge_base))
        except KnowledgeBaseNotFound as error:
            raise UnknownModel from error

    def _check_served(self, name: str) -> None:
        with suppress(ApiKeyRequired):  # the server lacks it: that is no fault of the name
            self.completions.check(name)


def _model_of(knowledge_base: KnowledgeBase) -> ListedModel:
    created = int(knowledge_base.created_at.timestamp())
    return ListedModel(id=KNOWLEDGE_MODEL + knowledge_base.id, owned_by=OURS, created=created)
