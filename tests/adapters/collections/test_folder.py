from pathlib import Path

import pytest

from llm_backend.infrastructure.collections.folder import InvalidCollection, read_collection


def given(folder: Path, *, corpus: str = "", queries: str = "", qrels: str = "") -> Path:
    (folder / "corpus.jsonl").write_text(corpus or '{"id": "d1", "title": "T", "text": "x"}\n\n{"_id": 2, "text": "y"}')
    (folder / "queries.jsonl").write_text(
        queries or '{"_id": "q1", "text": "a", "metadata": {}}\n{"id": "q2", "text": "b"}'
    )
    (folder / "qrels.tsv").write_text(qrels or "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\t2\t0\n")
    return folder


def test_a_collection_as_beir_lays_it_out_is_read(tmp_path: Path) -> None:
    collection = read_collection(given(tmp_path))

    assert [(one.id, one.title, one.text) for one in collection.documents] == [("d1", "T", "x"), ("2", "", "y")]
    assert [(one.id, one.text, one.grades) for one in collection.queries] == [("q1", "a", {"d1": 2})]
    assert collection.name == tmp_path.name


def test_answers_and_the_columns_of_trec_are_read(tmp_path: Path) -> None:
    queries = '{"id": "q", "text": "a", "answers": ["x", ""], "answer": "y"}'

    (query,) = read_collection(given(tmp_path, queries=queries, qrels="q 0 d1 1\n".replace(" ", "\t"))).queries

    assert (query.answers, query.grades) == (["x", "y"], {"d1": 1})


def test_zero_is_a_name_like_any(tmp_path: Path) -> None:
    corpus, queries = '{"id": 0, "text": "x"}', '{"_id": 0, "text": "a"}'

    collection = read_collection(given(tmp_path, corpus=corpus, queries=queries, qrels="0\t0\t1\n"))

    assert [one.id for one in collection.documents] == ["0"]
    assert [(one.id, one.grades) for one in collection.queries] == [("0", {"0": 1})]


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"corpus": '{"id": "d1", "text": "x"}\n{"id": '}, "corpus.jsonl, line 2"),
        ({"corpus": '{"id": "d1"}'}, "corpus.jsonl, line 1"),
        ({"queries": "[]"}, "queries.jsonl, line 1"),
        ({"qrels": "q1\td1\t1\nq1\td1\tmany\n"}, "qrels.tsv, line 2"),
        ({"qrels": "q1\td1\t1\nq1\t1\n"}, "qrels.tsv, line 2"),
        ({"qrels": "nobody\td1\t1\n"}, "no questions"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, wrong: dict[str, str], where: str) -> None:
    with pytest.raises(InvalidCollection, match=where):
        read_collection(given(tmp_path, **wrong))


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels.tsv"])
def test_what_is_no_utf_8_is_told_with_its_place(tmp_path: Path, name: str) -> None:
    file = given(tmp_path) / name
    file.write_bytes(b'{"id": "d9", "text": "\xff"}\t1\n' + file.read_bytes())

    with pytest.raises(InvalidCollection, match=f"{name}, line 1"):
        read_collection(tmp_path)


def test_a_name_may_be_of_any_length(tmp_path: Path) -> None:
    name = "q" * 200_000

    collection = read_collection(
        given(tmp_path, queries=f'{{"id": "{name}", "text": "a"}}', qrels=f"{name}\td1\t1\r\n")
    )

    assert [one.id for one in collection.queries] == [name]


def test_a_folder_that_is_none_is_no_crash(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="qrels"):
        read_collection(tmp_path)
