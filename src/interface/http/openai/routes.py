"""The routes under `/v1`."""

from litestar import Router

from llm_backend.application.backend import Backend
from llm_backend.interface.http.openai.auth import require_access
from llm_backend.interface.http.openai.models import ModelsController
from llm_backend.interface.http.openai.requests import OpenAiRequest
from llm_backend.interface.http.openai_errors import ROOT


def openai_router(backend: Backend) -> Router:
    return Router(
        path=ROOT,
        route_handlers=[ModelsController],
        guards=[require_access(backend.authorize)],
        request_class=OpenAiRequest,
    )
