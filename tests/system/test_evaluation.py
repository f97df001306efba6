"""`llm-backend eval retrieval`, from a folder to figures."""

import json
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

from tests.forks import completed

TEXTS = {
    "fox": "The fox is a small animal of the forest.",
    "castle": "A castle was built on the hill in 1320.",
    "recipe": "The recipe needs flour and sugar.",
}
QUERIES = {"q1": ("Who lives in the forest?", "fox", "fox"), "q2": ("When was the castle built?", "castle", "1320")}

AWAY = """\
rag:
  default_embedding_model: away
  embedding_models: [{name: away, base_url: "http://127.0.0.1:9/v1", model: away, dimensions: 8}]
"""


def given_a_collection(folder: Path) -> Path:
    documents = [json.dumps({"id": name, "title": name.title(), "text": text}) for name, text in TEXTS.items()]
    queries = [json.dumps({"id": q, "text": text, "answer": answer}) for q, (text, _, answer) in QUERIES.items()]
    (folder / "corpus.jsonl").write_text("\n".join(documents))
    (folder / "queries.jsonl").write_text("\n".join(queries))
    (folder / "qrels.tsv").write_text("".join(f"{q}\t{document}\t1\n" for q, (_, document, _) in QUERIES.items()))
    (folder / "config.yaml").write_text(f"data_folder: {folder / 'data'}\n")
    return folder


def evaluate(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return completed("eval", "retrieval", *map(str, arguments), cwd=Path.cwd())


def test_a_collection_is_measured_compared_and_drawn(tmp_path: Path) -> None:
    folder = given_a_collection(tmp_path)
    config, plot, data = folder / "config.yaml", folder / "figures.svg", folder / "figures.json"

    done = evaluate(folder, "--config", config, "--against", config, "--plot", plot, "--json", data)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{folder.name}: 3 documents, 2 questions\n")
    assert done.stdout.count("nDCG@10      1.0000   [1.0000, 1.0000]") == 2
    assert "answer@3000  1.0000" in done.stdout
    assert "by paired bootstrap" in done.stdout
    figures = json.loads(data.read_text())
    assert figures["runs"][0]["values"]["recall@5"] == [1, 1]
    assert figures["differences"]["MRR@10"]["p_value"] == 1
    assert ET.fromstring(plot.read_text()).tag == "{http://www.w3.org/2000/svg}svg"
    assert not (folder / "data").exists()


def test_words_alone_can_be_compared_with_what_is_configured(tmp_path: Path) -> None:
    folder = given_a_collection(tmp_path)
    config, data = folder / "config.yaml", folder / "figures.json"

    done = evaluate(folder, "--config", config, "--words-only", "--against", config, "--json", data)

    assert (done.returncode, done.stderr) == (0, "")
    assert "\nconfig.yaml, by words alone\n" in done.stdout
    assert done.stdout.count("degraded") == 1
    assert "degraded     2 of 2" in done.stdout
    for measure in ("nDCG@10", "recall@5", "recall@10", "MRR@10", "a question   p50"):
        assert done.stdout.count(f"  {measure}") >= 2
    alone, configured = json.loads(data.read_text())["runs"]
    assert (alone["degraded"], configured["degraded"]) == (2, 0)


def test_words_alone_need_no_embedding_model(tmp_path: Path) -> None:
    folder = given_a_collection(tmp_path)
    config = folder / "away.yaml"
    config.write_text(f"data_folder: {folder / 'data'}\n{AWAY}")

    done = evaluate(folder, "--config", config, "--words-only")

    assert (done.returncode, done.stderr) == (0, "")
    assert "nDCG@10      1.0000" in done.stdout


def test_a_folder_that_is_no_collection_is_an_error_in_one_line(tmp_path: Path) -> None:
    folder = given_a_collection(tmp_path)
    (folder / "qrels.tsv").write_text("q1\tfox\tyes\nq1\tfox\tno\n")

    done = evaluate(folder, "--config", folder / "config.yaml")

    assert done.returncode == 1
    assert done.stderr == f"llm-backend: {folder / 'qrels.tsv'}, line 2: expected question, document and grade\n"
