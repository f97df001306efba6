"""How long a question to a knowledge base of five thousand passages takes, embedder and HTTP included.

Measured right after the uploads, and once more after `llm-backend reindex`, which writes the passages as one piece.
"""

import random
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.client import Client
from benchmarks.figures import Figure, percentile
from benchmarks.processes import Cores, cpu_seconds, resident_mib
from benchmarks.server import Server, configure, prepare, serving

DOCUMENTS, SECTIONS = 25, 200  # a section becomes one passage or a little more
QUESTIONS, QUICK_QUESTIONS = 300, 100
WARMING_UP = 10  # the first questions open files and fill caches
TIME_LIMIT = 60.0
SYLLABLES = ["ba", "ce", "di", "fo", "gu", "la", "me", "ni", "po", "ru", "sa", "te", "vi", "zo"]


def measure(cores: Cores, folder: Path, *, quick: bool) -> list[Figure]:
    words = _vocabulary(random.Random(1))  # the same texts each time
    questions = QUICK_QUESTIONS if quick else QUESTIONS
    config = configure(folder)
    prepare(config)
    with serving(config, core=cores.measured) as server, Client(server.port) as client:
        client.sign_in()
        shelf = client.post("/api/rag/kb/create", {"kb_name": "Measured"})["kb_id"]
        uploading = _upload(server, client, shelf, words) / DOCUMENTS
        fresh = _ask(client, shelf, words, questions)
    subprocess.run(
        [sys.executable, "-m", "llm_backend", "reindex", "--config", config], check=True, capture_output=True
    )
    with serving(config, core=cores.measured) as server, Client(server.port) as client:
        client.sign_in()
        rebuilt = _ask(client, shelf, words, questions)
        memory = resident_mib(server.pid)
    return [
        Figure(name="retrieve, p50", value=percentile(fresh, 0.5), unit="ms"),
        Figure(name="retrieve, p95", value=percentile(fresh, 0.95), unit="ms", limit=TIME_LIMIT),
        Figure(name="retrieve after reindex, p95", value=percentile(rebuilt, 0.95), unit="ms"),
        Figure(name=f"CPU per upload of some {SECTIONS} passages", value=uploading, unit="s"),
        Figure(name="memory with a knowledge base in use", value=memory, unit="MiB"),
    ]


def _upload(server: Server, client: Client, shelf: str, words: list[str]) -> float:
    """CPU seconds of all uploads, the reading of the files included."""
    before = cpu_seconds(server.pid)
    for number in range(DOCUMENTS):
        text = _document(random.Random(number), words)
        client.upload("/api/rag/doc/upload", {"kb_id": shelf}, f"{number}.txt", text)
    return cpu_seconds(server.pid) - before


def _ask(client: Client, shelf: str, words: list[str], times: int) -> list[float]:
    """Milliseconds for each question."""
    chance = random.Random(2)
    taken = []
    for _ in range(WARMING_UP + times):
        question = " ".join(chance.choices(words, k=6))
        began = time.perf_counter()
        assert client.post("/api/rag/retrieve", {"kb_id": shelf, "query": question, "top_k": 5})
        taken.append(1000 * (time.perf_counter() - began))
    return taken[WARMING_UP:]


def _vocabulary(chance: random.Random) -> list[str]:
    return ["".join(chance.choices(SYLLABLES, k=chance.randint(2, 5))) for _ in range(5000)]


def _document(chance: random.Random, words: list[str]) -> bytes:
    return "\n\n".join(_section(chance, words) for _ in range(SECTIONS)).encode()


def _section(chance: random.Random, words: list[str]) -> str:
    """Some 450 characters in sentences; frequent words come often, as in languages."""
    sentences = (" ".join(words[int(len(words) * chance.random() ** 3)] for _ in range(12)) for _ in range(5))
    return ". ".join(sentence.capitalize() for sentence in sentences) + "."
