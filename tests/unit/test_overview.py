import pytest

from llm_backend.domain.ids import DocumentId, KnowledgeBaseId
from llm_backend.domain.knowledge import DocumentSummary
from llm_backend.domain.overview import LONGEST_QUESTION, asks_for_overview, named
from llm_backend.infrastructure.text.folding import OpenCcFolding

DOCUMENTS = [
    DocumentSummary(id=DocumentId(name), knowledge_base=KnowledgeBaseId("k"), name=name, file_type="txt")
    for name in ("handbook.docx", "annual_report-2024.pdf", "劳动合同.pdf", "a.txt", "no extension")
]
FOLDING = OpenCcFolding()


@pytest.mark.parametrize(
    "question",
    [
        "What is this document about?",
        "what's this about",
        "What are these files about?",
        "What is the knowledge base about?",
        "Summarize this document.",
        "Please summarise the document for me",
        "Can you give me a brief overview of this paper?",
        "tl;dr",
        "What does this document cover?",
        "What are the main points?",
        "What are the key findings of the report?",
        "What topics does the file cover?",
        "Tell me about this document",
        "What is handbook.docx about?",
        "What is the HANDBOOK about?",
        'What is "annual report 2024" about?',
        "Sum up annual_report-2024.pdf in three sentences",
        "Summarize handbook.docx and annual_report-2024.pdf",
        "这个文档讲什么？",
        "这份文件主要讲了什么内容",
        "这篇文章的主要内容是什么？",
        "总结一下",
        "请总结这篇文档",
        "请帮我概括一下这份报告的主要内容",
        "文档的中心思想是什么？",
        "介绍一下这个知识库",
        "全文大意",
        "《劳动合同》讲了什么？",
        "劳动合同.pdf 的主要内容是什么",
        "勞動合同.pdf講什麼",
        "這份檔案是關於什麼的？",
        "handbook.docx 讲什么",
    ],
)
def test_questions_about_whole_documents_are_told_by_their_form(question: str) -> None:
    assert asks_for_overview(question, DOCUMENTS, FOLDING)


@pytest.mark.parametrize(
    "question",
    [
        "What is the capital of France?",
        "What is force majeure about?",
        "What does the document say about holidays?",
        "What is in chapter 3?",
        "Who wrote this document?",
        "Summarize the side effects of aspirin",
        "What are the main causes of the war?",
        "How many days of holiday does the handbook grant?",
        "不可抗力条款是什么？",
        "合同中关于付款的规定是什么？",
        "劳动合同的试用期是多久？",
        "总结一下年假的规定",
        "介绍一下北京",
        "这个产品多少钱？",
        "",
        "?",
        "What is this document about? " + "And why? " * LONGEST_QUESTION,
    ],
)
def test_questions_about_something_in_particular_are_not(question: str) -> None:
    assert not asks_for_overview(question, DOCUMENTS, FOLDING)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What is handbook.docx about?", ["handbook.docx"]),
        ("Compare the Annual Report 2024 with 勞動合同", ["annual_report-2024.pdf", "劳动合同.pdf"]),
        ("the handbooks", []),
        ("a question", []),
        ("no extension, please", ["no extension"]),
    ],
)
def test_documents_are_named_with_or_without_their_extensions(question: str, expected: list[str]) -> None:
    assert [document.name for document in named(question, DOCUMENTS, FOLDING)] == expected
