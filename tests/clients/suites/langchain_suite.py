"""LangChain's own standard tests of chat models and of embeddings. The server and a key are in its environment."""

import base64
import io
import wave
from typing import Any

import httpx
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langchain_tests.integration_tests import ChatModelIntegrationTests, EmbeddingsIntegrationTests

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
NO_FILES = "The server refuses files as parts of a message under /v1/responses"


@pytest.fixture(autouse=True)
def internet(monkeypatch: pytest.MonkeyPatch) -> None:
    """LangChain's tests take a picture, a document and a sound from the internet; here those are small and at hand."""
    contents = {".png": PIXEL, ".jpg": PIXEL, ".pdf": b"%PDF-1.4\n%%EOF", ".wav": _silence()}

    def get(url: str, **_: Any) -> httpx.Response:
        (content,) = [content for ending, content in contents.items() if url.endswith(ending)]
        return httpx.Response(200, content=content)

    monkeypatch.setattr(httpx, "get", get)


def _silence() -> bytes:
    with io.BytesIO() as file:
        with wave.open(file, "wb") as sound:
            sound.setparams((1, 2, 8000, 0, "NONE", ""))
            sound.writeframes(bytes(16))
        return file.getvalue()


class TestChatCompletions(ChatModelIntegrationTests):  # type: ignore[misc]
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI  # type: ignore[no-any-return]

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "plausible", "stream_usage": True, "use_responses_api": False}

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_image_inputs(self) -> bool:
        return True

    @property
    def supports_image_urls(self) -> bool:
        return True

    @property
    def supports_image_tool_message(self) -> bool:
        return True

    @property
    def supports_pdf_inputs(self) -> bool:
        return True

    @property
    def supports_audio_inputs(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return "plausible-mini"


class TestResponses(TestChatCompletions):
    """The same over `/v1/responses`."""

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "plausible", "use_responses_api": True}

    @property
    def supports_audio_inputs(self) -> bool:
        return False  # the Responses API has none

    @property
    def supports_pdf_tool_message(self) -> bool:
        return True

    @pytest.mark.xfail(reason=NO_FILES, strict=True)
    def test_pdf_inputs(self, model: BaseChatModel) -> None:
        super().test_pdf_inputs(model)

    @pytest.mark.xfail(reason=NO_FILES, strict=True)
    def test_pdf_tool_message(self, model: BaseChatModel) -> None:
        super().test_pdf_tool_message(model)


class TestEmbeddings(EmbeddingsIntegrationTests):  # type: ignore[misc]
    @property
    def embeddings_class(self) -> type[OpenAIEmbeddings]:
        return OpenAIEmbeddings  # type: ignore[no-any-return]

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": "hash-1024", "check_embedding_ctx_length": False}
