"""`/v1/models`: what can be asked."""

from typing import Literal

import msgspec
from litestar import Controller, get
from litestar.params import FromPath

from llm_backend.application.models import FindModel, ListModels
from llm_backend.application.ports.model_catalogue import ListedModel
from llm_backend.interface.http.documentation import SIGNED_IN
from llm_backend.interface.http.openai.documentation import openai_failures
from llm_backend.interface.http.openai.lists import Page, page_of
from llm_backend.interface.http.openai.requests import OpenAiRequest
from llm_backend.interface.http.rest.parameters import Asked

TAGS = ["OpenAI"]


class ModelOut(msgspec.Struct):
    """`created` is 0 where nobody says."""

    id: str
    created: int
    owned_by: str
    object: Literal["model"] = "model"


class ModelsController(Controller):
    path = "/models"
    security = SIGNED_IN
    tags = TAGS

    @get("/", responses=openai_failures())
    async def list_all(self, list_models: Asked[ListModels], request: OpenAiRequest) -> Page[ModelOut]:
        """All models by name: language models, embedding models, and `kb:<id>` for each knowledge base of the user."""
        return page_of(map(model_out, await list_models(request.owner)), lambda model: model.id)

    @get("/{name:path}", responses=openai_failures(404))
    async def find(self, name: FromPath[str], find_model: Asked[FindModel], request: OpenAiRequest) -> ModelOut:
        """One model; its name may have slashes in it."""
        return model_out(await find_model(request.owner, name.removeprefix("/")))


def model_out(model: ListedModel) -> ModelOut:
    return ModelOut(model.id, model.created, model.owned_by)
