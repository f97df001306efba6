"""What can be configured, and how a file, a mapping or the environment becomes `Settings`."""

from llm_backend.config.faults import ConfigurationError, Fault
from llm_backend.config.models import EmbeddingModel, Llm, OnnxFiles, Parsing, Provider, Rag, Timeouts
from llm_backend.config.sections import Answers, Database, Jwt, Limits, Log, ObjectStorage, Redis, Server, Sqlite
from llm_backend.config.settings import Settings
from llm_backend.config.values import Port, Size
from llm_backend.domain.secrets import Secret

__all__ = [
    "Answers",
    "ConfigurationError",
    "Database",
    "EmbeddingModel",
    "Fault",
    "Jwt",
    "Limits",
    "Llm",
    "Log",
    "ObjectStorage",
    "OnnxFiles",
    "Parsing",
    "Port",
    "Provider",
    "Rag",
    "Redis",
    "Secret",
    "Server",
    "Settings",
    "Size",
    "Sqlite",
    "Timeouts",
]
