import subprocess
import sys

import pytest

from llm_backend.domain.errors import ApiKeyRequired, UnknownEmbeddingModel
from llm_backend.infrastructure.embedding.configured import ConfiguredEmbedders
from llm_backend.infrastructure.embedding.hashing import HashEmbedder
from tests.http.backends import NamedEmbedder


def test_the_default_comes_first_and_names_lead_to_embedders() -> None:
    lexical = HashEmbedder()

    embedders = ConfiguredEmbedders([lexical], default="hash-1024")

    assert embedders.names() == ["hash-1024"]
    assert embedders.get("hash-1024") is lexical


@pytest.mark.parametrize("name", ["", "unknown", "HASH-1024"])
def test_other_names_are_unknown(name: str) -> None:
    with pytest.raises(UnknownEmbeddingModel):
        ConfiguredEmbedders([HashEmbedder()], default="hash-1024").get(name)


def test_those_without_their_key_have_a_space_and_cannot_be_used() -> None:
    lexical, remote = HashEmbedder(), NamedEmbedder(name="remote")

    embedders = ConfiguredEmbedders([lexical, remote], default="hash-1024", keyless=["remote"])
    defaulting = ConfiguredEmbedders([lexical, remote], default="remote", keyless=["remote"])

    assert (embedders.names(), defaulting.names()) == (["hash-1024", "remote"], ["remote", "hash-1024"])
    for each in (embedders, defaulting):
        assert each.space("remote") == remote.space
        with pytest.raises(ApiKeyRequired):
            each.get("remote")


def test_a_default_that_is_not_configured_is_refused() -> None:
    with pytest.raises(UnknownEmbeddingModel):
        ConfiguredEmbedders([HashEmbedder()], default="other")


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    program = (
        "import sys; from llm_backend.infrastructure.embedding.configured import ConfiguredEmbedders; "
        "from llm_backend.infrastructure.embedding.hashing import HashEmbedder; "
        "ConfiguredEmbedders([HashEmbedder()], default='hash-1024'); print({'numpy', 'httpx'} & set(sys.modules))"
    )

    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert printed.strip() == "set()"
