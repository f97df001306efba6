"""The routes under `/v1`."""

from litestar import Router

from llm_backend.application.backend import Backend
from llm_backend.interface.http.openai.auth import require_access
from llm_backend.interface.http.openai.completions import CompletionsController
from llm_backend.interface.http.openai.conversations import OpenAiConversationsController
from llm_backend.interface.http.openai.embeddings import EmbeddingsController
from llm_backend.interface.http.openai.file_batches import FileBatchesController
from llm_backend.interface.http.openai.files import FilesController, FileUploadController
from llm_backend.interface.http.openai.models import ModelsController
from llm_backend.interface.http.openai.requests import OpenAiRequest
from llm_backend.interface.http.openai.response_sockets import responses_socket
from llm_backend.interface.http.openai.responses import ResponsesController
from llm_backend.interface.http.openai.store_files import StoreFilesController
from llm_backend.interface.http.openai.vector_stores import VectorStoresController
from llm_backend.interface.http.openai_errors import ROOT
from llm_backend.interface.http.options import HttpOptions


def openai_router(backend: Backend, options: HttpOptions) -> Router:
    prompts = Router(
        path="/",
        route_handlers=[
            CompletionsController,
            EmbeddingsController,
            ResponsesController,
            responses_socket,
            OpenAiConversationsController,
        ],
        request_max_body_size=options.prompt_limit,
    )
    uploads = Router(path="/", route_handlers=[FileUploadController], request_max_body_size=options.upload_limit)
    return Router(
        path=ROOT,
        route_handlers=[
            ModelsController,
            prompts,
            uploads,
            FilesController,
            VectorStoresController,
            StoreFilesController,
            FileBatchesController,
        ],
        guards=[require_access(backend.authorize)],
        request_class=OpenAiRequest,
    )
