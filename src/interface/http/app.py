"""The HTTP application: the only list of routes, and the names under which they find their use cases."""

from dataclasses import fields
from typing import Any

from litestar import Litestar, Router
from litestar.di import Provide
from litestar.exceptions import ValidationException
from litestar.types import ASGIApp, ControllerRouterHandler

from llm_backend.application.backend import Backend
from llm_backend.domain.errors import Invalid
from llm_backend.interface.http import health
from llm_backend.interface.http.auth import require_session
from llm_backend.interface.http.cors import OtherOrigins
from llm_backend.interface.http.documentation import documentation_routes, openapi_config
from llm_backend.interface.http.edge import Edge
from llm_backend.interface.http.errors import handle
from llm_backend.interface.http.handshakes import note_failure
from llm_backend.interface.http.openai.completions import Chats
from llm_backend.interface.http.openai.embeddings import Embedding
from llm_backend.interface.http.openai.files import FileUploads
from llm_backend.interface.http.openai.response_streams import ResponseDesk
from llm_backend.interface.http.openai.routes import openai_router
from llm_backend.interface.http.options import HttpOptions
from llm_backend.interface.http.requests import ApiRequest
from llm_backend.interface.http.rest.answers import Answers
from llm_backend.interface.http.rest.chat import ChatController, missing_goes_first
from llm_backend.interface.http.rest.contents import ContentsController
from llm_backend.interface.http.rest.conversations import ConversationsController
from llm_backend.interface.http.rest.ingestion import Documents, IngestionController, UploadsController
from llm_backend.interface.http.rest.keys import KeysController
from llm_backend.interface.http.rest.rag import RagController
from llm_backend.interface.http.rest.reindexing import ReindexingController, Reindexings
from llm_backend.interface.http.rest.usage import UsageController
from llm_backend.interface.http.rest.users import UsersController
from llm_backend.interface.http.uploads import Uploads


def create_app(backend: Backend, options: HttpOptions | None = None) -> ASGIApp:
    """The backend as an ASGI application. Whoever opened the backend also closes it."""
    options = options or HttpOptions()
    origins = OtherOrigins(*options.cors_origins) if options.cors_origins else None
    return Edge(litestar_app(backend, options), origins)


def litestar_app(backend: Backend, options: HttpOptions) -> Litestar:
    """The application without its edge: the place to look at its routes."""
    return Litestar(
        route_handlers=_routes(backend, options),
        dependencies=_dependencies(backend, options),
        exception_handlers={Exception: handle},
        after_exception=[note_failure],
        request_class=ApiRequest,
        request_max_body_size=options.body_limit,
        openapi_config=openapi_config(options.version) if options.documentation else None,
        logging_config=None,
    )


def _routes(backend: Backend, options: HttpOptions) -> list[ControllerRouterHandler]:
    missing_first = missing_goes_first(backend.find_answer)
    chat = Router(
        path="/",
        route_handlers=[ChatController],
        exception_handlers={Invalid: missing_first, ValidationException: missing_first},  # ours, and Litestar's
    )
    uploads = Router(path="/", route_handlers=[UploadsController], request_max_body_size=options.upload_limit)
    api = Router(
        path="/api",
        route_handlers=[
            UsersController,
            KeysController,
            UsageController,
            ConversationsController,
            chat,
            RagController,
            IngestionController,
            ReindexingController,
            ContentsController,
            uploads,
        ],
        guards=[require_session(backend.authenticate)],
    )
    documentation = documentation_routes() if options.documentation else []
    return [api, openai_router(backend, options), health.alive, health.ready, *documentation]


def _dependencies(backend: Backend, options: HttpOptions) -> dict[str, Provide]:
    """Each use case under its name in the `Backend`, and the few things that are made of use cases and options."""
    named: dict[str, Any] = {field.name: getattr(backend, field.name) for field in fields(Backend)}
    answers = Answers(
        send=backend.send_message,
        ask=backend.ask_knowledge_base,
        find=backend.find_answer,
        history=backend.read_history,
        follow=backend.follow_answer,
        stop=backend.stop_answer,
        framing=options.framing,
        keep_alive=options.keep_alive,
    )
    made = {
        "answers": answers,
        "chats": Chats(backend.complete_chat, backend.stream_chat),
        "response_desk": ResponseDesk(
            respond=backend.respond,
            count=backend.count_input,
            compact=backend.compact_response,
            find=backend.find_response,
            cancel=backend.cancel_response,
            delete=backend.delete_response,
            forget=backend.forget_response,
            recall=backend.recall_response,
            follow=backend.follow_answer,
            keep_alive=options.keep_alive,
        ),
        "embedding": Embedding(backend.embed_texts, backend.embed_verbatim),
        "uploads": Uploads(backend.upload_document, backend.submit_document, options.scratch),
        "file_uploads": FileUploads(backend.upload_file, options.scratch),
        "documents": Documents(
            check=backend.check_document,
            follow=backend.follow_document,
            cancel=backend.cancel_document,
            describe=backend.describe_document,
            keep_alive=options.keep_alive,
        ),
        "reindexings": Reindexings(
            backend.start_reindexing,
            backend.check_reindexing,
            backend.cancel_reindexing,
            backend.roll_back_reindexing,
        ),
    }
    return {name: _given(value) for name, value in {**named, **made}.items()}


class _Given(Provide):
    """Equal to itself alone. Litestar compares the dependencies of each route with one another, all with all, which
    would otherwise take a fifth of the CPU time that an application needs to start."""

    __eq__ = object.__eq__  # pyright: ignore[reportAssignmentType]
    __hash__ = object.__hash__  # pyright: ignore[reportAssignmentType] - `Provide` has none


def _given(value: Any) -> Provide:
    return _Given(lambda: value, sync_to_thread=False)
