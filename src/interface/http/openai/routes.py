"""The routes under `/v1`."""

from litestar import Router

from llm_backend.application.backend import Backend
from llm_backend.interface.http.openai.auth import require_access
from llm_backend.interface.http.openai.completions import CompletionsController
from llm_backend.interface.http.openai.embeddings import EmbeddingsController
from llm_backend.interface.http.openai.models import ModelsController
from llm_backend.interface.http.openai.requests import OpenAiRequest
from llm_backend.interface.http.openai_errors import ROOT
from llm_backend.interface.http.options import HttpOptions


def openai_router(backend: Backend, options: HttpOptions) -> Router:
    prompts = Router(
        path="/",
        route_handlers=[CompletionsController, EmbeddingsController],
        request_max_body_size=options.prompt_limit,
    )
    return Router(
        path=ROOT,
        route_handlers=[ModelsController, prompts],
        guards=[require_access(backend.authorize)],
        request_class=OpenAiRequest,
    )
