"""How long a question to a knowledge base of five thousand passages takes, embedder and HTTP included."""

import random
import time
from pathlib import Path

from benchmarks.client import Client
from benchmarks.figures import Figure, percentile
from benchmarks.processes import Cores, cpu_seconds, resident_mib
from benchmarks.server import configure, prepare, serving

DOCUMENTS, SECTIONS = 25, 200  # a section becomes one passage or a little more
QUESTIONS, QUICK_QUESTIONS = 300, 100
TIME_LIMIT = 60.0
SYLLABLES = ["ba", "ce", "di", "fo", "gu", "la", "me", "ni", "po", "ru", "sa", "te", "vi", "zo"]


def measure(cores: Cores, folder: Path, *, quick: bool) -> list[Figure]:
    words = _vocabulary(random.Random(1))  # the same texts each time
    config = configure(folder)
    prepare(config)
    with serving(config, core=cores.measured) as server, Client(server.port) as client:
        client.sign_in()
        shelf = client.post("/api/rag/kb/create", {"kb_name": "Measured"})["kb_id"]
        before = cpu_seconds(server.pid)
        for number in range(DOCUMENTS):
            text = _document(random.Random(number), words)
            client.upload("/api/rag/doc/upload", {"kb_id": shelf}, f"{number}.txt", text)
        uploading = cpu_seconds(server.pid) - before
        times = _ask(client, shelf, words, QUICK_QUESTIONS if quick else QUESTIONS)
        return [
            Figure(name="retrieve, p50", value=1000 * percentile(times, 0.5), unit="ms"),
            Figure(name="retrieve, p95", value=1000 * percentile(times, 0.95), unit="ms", limit=TIME_LIMIT),
            Figure(name="CPU per upload of some 200 passages", value=uploading / DOCUMENTS, unit="s"),
            Figure(name="memory afterwards", value=resident_mib(server.pid), unit="MiB"),
        ]


def _ask(client: Client, shelf: str, words: list[str], times: int) -> list[float]:
    chance = random.Random(2)
    seconds = []
    for number in range(times + 10):
        question = " ".join(chance.choices(words, k=6))
        began = time.perf_counter()
        found = client.post("/api/rag/retrieve", {"kb_id": shelf, "query": question, "top_k": 5})
        if number >= 10:  # the first open files and fill caches
            seconds.append(time.perf_counter() - began)
        assert found
    return seconds


def _vocabulary(chance: random.Random) -> list[str]:
    return ["".join(chance.choices(SYLLABLES, k=chance.randint(2, 5))) for _ in range(5000)]


def _document(chance: random.Random, words: list[str]) -> bytes:
    return "\n\n".join(_section(chance, words) for _ in range(SECTIONS)).encode()


def _section(chance: random.Random, words: list[str]) -> str:
    """Some 450 characters in sentences; frequent words come often, as in languages."""
    sentences = (" ".join(words[int(len(words) * chance.random() ** 3)] for _ in range(12)) for _ in range(5))
    return ". ".join(sentence.capitalize() for sentence in sentences) + "."
