"""The sections about models: those that answer, and those that place texts beside each other."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final, Literal

from msgspec import field

from llm_backend.config.checking import Section
from llm_backend.config.faults import zeros
from llm_backend.config.reading import ApiKey, EmbeddingKey, read_struct
from llm_backend.config.trees import tree_of_mapping
from llm_backend.config.values import Size
from llm_backend.domain.answers import LONGEST_ANSWER
from llm_backend.domain.patterns import is_one_of

LEXICAL_MODEL: Final = "hash-1024"
S3_PLACE: Final = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^?#]*)?")
_SHA256: Final = re.compile("[0-9A-Fa-f]{64}")
_FILE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")
MOST_EXPENSIVE: Final = 1_000_000
SHORTEST_KEPT: Final = timedelta(minutes=1)
SHORTEST_CONTEXT: Final = 200  # tokens

_MIB: Final = 1024 * 1024


class Provider(Section, frozen=True, kw_only=True):
    """A server of language models, or the built-in demonstration."""

    name: str
    kind: Literal["openai", "demo"] = "openai"
    """`openai` is any server that speaks OpenAI's chat completions."""
    base_url: str | None = None
    models: tuple[str, ...] = ()
    """Patterns such as `gpt-*`; the first provider with a matching one serves a model."""
    weight: int | None = None
    """Providers with a weight and the same `models` share them: each answer is drawn among them, by weight."""
    fallbacks: tuple[str, ...] = ()
    """Models of other providers that go on in its place when it fails, in this order."""
    api_key: ApiKey = None
    needs_key: bool = True
    """False for servers that ask for none, as Ollama does: conversations then need no key of their own."""
    context_window: int = 32_768
    """Tokens that a question, its history and the answer may have together."""

    def _faults(self) -> Iterator[tuple[str, str]]:
        if not self.models:
            yield "models", 'must name at least one model or pattern, such as ["gpt-*"]'
        if self.kind == "openai":
            yield from _url_faults(self.base_url)
        if self.context_window < 1024:
            yield "context_window", "must be at least 1024 tokens"
        if self.weight is not None and self.weight < 1:
            yield "weight", "must be at least 1"
        yield from _repeated("fallbacks", list(self.fallbacks), what="model")

    def serves(self, model: str) -> bool:
        return is_one_of(model, self.models)

    def equals(self, other: "Provider") -> bool:
        weighted = self.weight is not None and other.weight is not None
        return self is other or (weighted and set(self.models) == set(other.models))


class Timeouts(Section, frozen=True, kw_only=True):
    """How long a provider may take; what takes longer ends the answer."""

    connect: timedelta = timedelta(seconds=10)
    first_token: timedelta = timedelta(seconds=60)
    idle: timedelta = timedelta(seconds=60)
    total: timedelta = timedelta(minutes=30)

    def _faults(self) -> Iterator[tuple[str, str]]:
        yield from zeros(self, "connect", "first_token", "idle", "total")


class Breaker(Section, frozen=True, kw_only=True):
    """When a provider that fails is left alone for a while."""

    failures: int | None = 5
    """In a row, and the provider's fault; null: it is always asked."""
    cool_down: timedelta = timedelta(seconds=30)
    """Or longer, up to fifteen minutes, if the provider asks for it; then one request is let through on trial."""

    def _faults(self) -> Iterator[tuple[str, str]]:
        if self.failures is not None and self.failures < 1:
            yield "failures", "must be at least 1, or null"


class ModelPrice(Section, frozen=True, kw_only=True):
    """What a million tokens cost, in whatever currency: asked (`prompt`) and answered (`completion`).

    `cached` is the price of those asked that the provider says it had read before; without it, that of the others.
    """

    models: tuple[str, ...]
    """Patterns such as `gpt-4o*`; the first price with a matching one counts."""
    prompt: float
    completion: float = 0.0
    cached: float | None = None

    def _faults(self) -> Iterator[tuple[str, str]]:
        given = {"prompt": self.prompt, "completion": self.completion, "cached": self.cached or 0.0}
        for key, price in given.items():
            if not 0 <= price < MOST_EXPENSIVE:
                yield key, f"must be at least 0 and below {MOST_EXPENSIVE}"


# Part of every configuration that names no providers of its own. Written as in a file, so that keys come from the
# environment of whoever loads the settings.
DEFAULT_PROVIDERS: Final = (
    {
        "name": "openai",
        "base_url": "https://api.openai.com/v1",
        "models": ["gpt-*", "o*", "chatgpt-*"],
        "api_key": "${OPENAI_API_KEY}",
        "context_window": 128_000,
    },
    {
        "name": "zhipu",
        "base_url": "https://open.bigmodel.cn/api/paas/v4",
        "models": ["glm-*"],
        "api_key": "${ZHIPU_API_KEY}",
        "context_window": 128_000,
    },
    {"name": "demo", "kind": "demo", "models": ["demo"]},
)
DEFAULT_EMBEDDING_MODELS: Final = tuple(
    {
        "name": f"zhipu-{model}",
        "base_url": "https://open.bigmodel.cn/api/paas/v4",
        "model": model,
        "dimensions": 1024,
        "api_key": "${ZHIPU_API_KEY}",
    }
    for model in ("embedding-3", "embedding-2")
)


def _default_providers() -> tuple[Provider, ...]:
    return read_struct(Llm, tree_of_mapping({"providers": DEFAULT_PROVIDERS}), {}, source="The default").providers


class Llm(Section, frozen=True, kw_only=True):
    """Who answers."""

    providers: tuple[Provider, ...] = field(default_factory=_default_providers)
    timeouts: Timeouts = Timeouts()
    longest_answer: Size = Size(LONGEST_ANSWER)
    """Counts characters, whatever the unit says: 4MiB are 4,194,304 of them, and no answer may be longer."""
    longest_line: Size = Size(_MIB)
    """Of a provider's event stream."""
    retries: int = 2
    """Further attempts when a provider fails before its first token."""
    breaker: Breaker | None = Breaker()
    """Null: every provider is always asked."""
    aliases: dict[str, str] = field(default_factory=dict)
    """Other names of models under `/v1`: `{fast: gpt-4o-mini}`."""
    prices: tuple[ModelPrice, ...] = ()

    def _faults(self) -> Iterator[tuple[str, str]]:
        yield from _repeated("providers", [provider.name for provider in self.providers])
        for index, provider in enumerate(self.providers):
            for model in provider.fallbacks:
                if fault := self._fallback_fault(provider, model):
                    yield f"providers[{index}].fallbacks", fault
        if self.longest_answer > LONGEST_ANSWER:
            yield "longest_answer", f"must be at most {LONGEST_ANSWER // _MIB}MiB; no answer may have more characters"

    def _fallback_fault(self, provider: Provider, model: str) -> str | None:
        """Who cannot be asked, or would be asked in place of itself, is no fallback."""
        serving = next((other for other in self.providers if other.serves(model)), None)
        if serving is None:
            return f"names {model!r}, which no provider serves"
        if serving.equals(provider):
            return f"names {model!r}, which is served by {provider.name!r} itself"
        return None


class OnnxFiles(Section, frozen=True, kw_only=True):
    """What of a repository on a model hub makes up a local model, and how it is run."""

    revision: str = "main"
    """A branch, a tag or a commit; only a commit stays what it is."""
    model: str = "onnx/model.onnx"
    tokenizer: str = "tokenizer.json"
    others: tuple[str, ...] = ()
    """Further files that the model consists of, such as `onnx/model.onnx_data`."""
    model_sha256: str | None = None
    """If the model must be exactly this file."""
    pooling: Literal["mean", "cls"] = "mean"
    """Whether all tokens speak for a text, or the first; models with their pooling built in do not care."""
    max_tokens: int = 512

    def _faults(self) -> Iterator[tuple[str, str]]:
        for key, names in (("model", [self.model]), ("tokenizer", [self.tokenizer]), ("others", self.others)):
            if any(not _FILE.fullmatch(name) or ".." in name for name in names):
                yield key, "must be a path inside the repository, such as onnx/model.onnx"
        if self.model_sha256 is not None and not _SHA256.fullmatch(self.model_sha256):
            yield "model_sha256", "must have 64 hexadecimal digits"
        if self.max_tokens < 8:
            yield "max_tokens", "must be at least 8"


class EmbeddingModel(Section, frozen=True, kw_only=True):
    """A model behind an OpenAI-compatible `/embeddings`, of an Ollama server, or in this process."""

    name: str
    kind: Literal["openai", "ollama", "local"] = "openai"
    """`local` needs the extra of that name, and `llm-backend models pull`."""
    base_url: str | None = None
    model: str
    """What the server calls it; of a local one, its repository on the hub."""
    dimensions: int
    api_key: EmbeddingKey = None
    batch: int = 32
    """Texts in one request."""
    max_characters: int | None = None
    """Of one text; the rest is cut off. Servers that refuse long texts are sent shorter ones anyway."""
    query_prefix: str = ""
    """What the model was trained to find before questions, such as `query: `."""
    document_prefix: str = ""
    """The same before passages, such as `passage: `."""
    onnx: OnnxFiles = OnnxFiles()

    def _faults(self) -> Iterator[tuple[str, str]]:
        if self.kind != "local":
            yield from _url_faults(self.base_url)
        elif not _REPOSITORY.fullmatch(self.model) or ".." in self.model:
            yield "model", "must be a repository on the model hub, such as owner/name"
        for key, value in (("dimensions", self.dimensions), ("batch", self.batch)):
            if value < 1:
                yield key, "must be at least 1"
        if self.max_characters is not None and self.max_characters < 64:
            yield "max_characters", "must be at least 64, or null"

    @property
    def lacks_key(self) -> bool:
        """Whether its key is a variable of the environment that is not set."""
        return self.api_key is not None and not self.api_key.reveal()


class Reranker(Section, frozen=True, kw_only=True):
    """A model behind a `/rerank`, which puts what a search has found into a better order."""

    kind: Literal["jina", "cohere", "tei"]
    """`tei` is text-embeddings-inference; many others, such as vLLM and LocalAI, speak as `jina` does."""
    base_url: str
    """`/rerank` is put behind it."""
    model: str | None = None
    api_key: ApiKey = None
    depth: int = 30
    """Passages that it is shown: each of them costs time."""
    timeout: timedelta = timedelta(seconds=5)
    """After that, the order of the search stays."""

    def _faults(self) -> Iterator[tuple[str, str]]:
        yield from _url_faults(self.base_url)
        if self.kind != "tei" and not self.model:
            yield "model", "is missing"
        if not 1 <= self.depth <= 200:
            yield "depth", "must be 1 to 200"
        yield from zeros(self, "timeout")


class Parsing(Section, frozen=True, kw_only=True):
    """What reading one document may cost, in a process of its own."""

    memory: Size = Size(600 * _MIB)
    """Address space, some 100 MiB of which are mapped before any work; the worst file measured takes 509 MiB."""
    cpu: timedelta = timedelta(seconds=8)
    time: timedelta = timedelta(seconds=8)
    text: Size = Size(20 * _MIB)
    """The longest text that is taken from a document."""
    processes: int = 2
    """Documents that are read at the same time."""

    def _faults(self) -> Iterator[tuple[str, str]]:
        yield from zeros(self, "cpu", "time")
        yield from zeros(self, "memory", "text", message="must be more than zero")
        yield from zeros(self, "processes", message="must be at least 1")


def _default_embedding_models() -> tuple[EmbeddingModel, ...]:
    tree = tree_of_mapping({"embedding_models": DEFAULT_EMBEDDING_MODELS})
    return read_struct(Rag, tree, {}, source="The default").embedding_models


class Rag(Section, frozen=True, kw_only=True):
    """How documents are read, found and used."""

    service_addr: str | None = None
    """Of the old product; read and ignored."""
    lancedb_uri: str | None = None
    """A folder or s3://bucket/prefix; `lancedb` in the data folder, unless it says something else."""
    kept_versions: timedelta = timedelta(hours=1)
    """How long what was replaced in the index is kept, for searches that began before; longer than any search."""
    old_vectors_kept_for: timedelta = timedelta(days=7)
    """How long one can go back after a knowledge base has changed its embedding model."""
    default_embedding_model: str = LEXICAL_MODEL
    """`hash-1024` is built in: lexical, offline, without a download."""
    embedding_models: tuple[EmbeddingModel, ...] = field(default_factory=_default_embedding_models)
    models_folder: Path | None = None
    """Where local models are; `models` in the data folder, unless it says something else."""
    model_hub: str = "https://huggingface.co"
    """Where `llm-backend models pull` gets them from."""
    model_threads: int = 2
    """Of the processor, for each local model."""
    answering_model: str | None = None
    """Who answers for `kb:<id>` under `/v1`; if nobody is named, the first of `llm.providers` that is no pattern."""
    reranker: Reranker | None = None
    """Asked at every search; without one, the order is what full text and vectors say."""
    threshold: float = 0.0
    """The lowest score, itself included, of what a search brings back when it does not say anything else."""
    answer_without_passages: bool = False
    """Whether the model is asked even when the knowledge base has nothing relevant; otherwise that is a 404."""
    context_tokens: int = 6000
    """Tokens of passages that an answer may rest on; fewer where the model's window is small."""
    rewrite_follow_ups: bool = True
    """Whether the model of a conversation is asked what a question refers to, when it is not the first one."""
    rewrite_timeout: timedelta = timedelta(seconds=4)
    """After which the question is searched for as it is."""
    parsing: Parsing = Parsing()

    def _faults(self) -> Iterator[tuple[str, str]]:
        if "://" in (self.lancedb_uri or "") and not S3_PLACE.fullmatch(self.lancedb_uri or ""):
            yield "lancedb_uri", "must be a folder, or s3://bucket/prefix with a bucket of at least 3 characters"
        if not 0 <= self.threshold <= 1:
            yield "threshold", "must be between 0 and 1"
        if self.kept_versions < SHORTEST_KEPT:
            yield "kept_versions", "must be at least 1m, or searches would lose what they read from"
        if self.model_threads < 1:
            yield "model_threads", "must be at least 1"
        yield from (("model_hub", fault) for _, fault in _url_faults(self.model_hub))
        if self.context_tokens < SHORTEST_CONTEXT:
            yield "context_tokens", f"must be at least {SHORTEST_CONTEXT}"
        yield from zeros(self, "rewrite_timeout")
        names = [LEXICAL_MODEL, *(model.name for model in self.embedding_models)]
        yield from _repeated("embedding_models", names)
        if self.default_embedding_model not in names:
            yield "default_embedding_model", f"must be one of {', '.join(names)}"


def _url_faults(url: str | None) -> Iterator[tuple[str, str]]:
    if url is None:
        yield "base_url", "is missing"
    elif not url.startswith(("http://", "https://")) or "@" in url or any(mark in url for mark in " ?#"):
        yield "base_url", "must be a URL such as https://api.example.org/v1, without user, query or blanks"


def _repeated(key: str, names: list[str], *, what: str = "name") -> Iterator[tuple[str, str]]:
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield key, f"has the {what} {name!r} more than once"
