"""A model that needs nothing: no network, no key, no weights."""

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

from llm_backend.application.ports.chat_model import ChatRequest, Completion, Emit
from llm_backend.domain.answers import Delta
from llm_backend.domain.conversations import Role, TokenUsage
from llm_backend.domain.prompting import OUTLINE

DEMO_WINDOW = 32_768
DEMO_DELAY = timedelta(milliseconds=15)

_PIECE = 4  # characters
_MOST_SENTENCES = 3
_CHINESE_RUN = re.compile(r"[\u3400-\u9fff]+")
# As the prompt for knowledge chats fences them: `[1] name`, a mark, the text, each line behind "> ", the mark again.
_SOURCE = re.compile(r"^\[(\d{1,3})\] [^\n]*\n(\S+)\n(.*?)\n\2$", re.DOTALL | re.MULTILINE)
_QUOTED_LINE = re.compile("^> ?", re.MULTILINE)
_SENTENCE = re.compile(r"[^\n。！？.!?]+(?:[.!?](?!\s|$)[^\n。！？.!?]*)*[。！？.!?]*")
_LATIN_WORD = re.compile(r"[^\W_\u3400-\u9fff]+")
_COMMON = frozenset(
    _LATIN_WORD.findall(
        "a an and are as at be by can did do does for from how i in is it of on or that the this to was were what when "
        "where which who why will with you your"
    )
)

_NOTICE_EN = """\
This is the built-in demo model. It works offline and needs no key, but it is no language model: it can only quote \
from the documents of a knowledge base.

To talk to a real model, add its server to `llm.providers` in config.yaml, for example

  - {name: openai, base_url: https://api.openai.com/v1, models: ["gpt-*"], api_key: "${OPENAI_API_KEY}"}

restart, and create a conversation with one of its models."""
_NOTICE_ZH = """\
这是内置的演示模型。它离线运行、不需要密钥，但不是真正的语言模型：它只能引用知识库文档中的原句。

要使用真正的模型，请在 config.yaml 的 `llm.providers` 中添加它的服务器，例如

  - {name: zhipu, base_url: https://open.bigmodel.cn/api/paas/v4, models: ["glm-*"], api_key: "${ZHIPU_API_KEY}"}

然后重新启动，并用它的模型新建对话。"""
_NOTHING_EN = "The sources say nothing about this. (Demo model: it only compares words.)"
_NOTHING_ZH = "来源中没有相关内容。（演示模型：仅比较字词。）"


class DemoChatModel:
    """Answers in small pieces, always the same to the same question.

    Given numbered sources it quotes the sentences that share most words with the question; otherwise it says that it
    is a demo, and how to set up a real model, in Chinese to a Chinese question.
    """

    def __init__(self, *, delay: timedelta = DEMO_DELAY) -> None:
        self._delay = delay.total_seconds()

    def check(self, model: str, *, own_key: bool) -> None:
        """It serves whatever it is asked to be, without a key."""

    def window(self, model: str) -> int:  # noqa: ARG002
        return DEMO_WINDOW

    async def answer(self, request: ChatRequest, emit: Emit) -> Completion:
        text = _answer(request).removeprefix(request.so_far)
        pieces = [text[start : start + _PIECE] for start in range(0, len(text), _PIECE)]
        for piece in pieces:
            await asyncio.sleep(self._delay)
            emit([Delta(piece)])
        asked = sum(len(turn.text) for turn in request.turns)
        return Completion(finish_reason="stop", usage=TokenUsage(prompt=-(-asked // _PIECE), completion=len(pieces)))


@dataclass(frozen=True, slots=True)
class _Quote:
    """A sentence of a source; `shared` counts the words of the question in it, `place` is where it stands."""

    text: str
    source: int
    shared: int
    place: int


def _answer(request: ChatRequest) -> str:
    question = next((turn.text for turn in reversed(request.turns) if turn.role == Role.USER), "")
    chinese = _CHINESE_RUN.search(question) is not None
    quotes = list(_quotes(request, question))
    if not quotes:
        return _NOTICE_ZH if chinese else _NOTICE_EN
    best = _first(quotes) if OUTLINE in _instructions(request) else _best(quotes)
    if not best:
        return _NOTHING_ZH if chinese else _NOTHING_EN
    return ("" if chinese else " ").join(f"{quote.text} [{quote.source}]" for quote in best)


def _quotes(request: ChatRequest, question: str) -> Iterator[_Quote]:
    wanted = _words(question)
    prompt = _instructions(request)
    place = 0
    for number, _, text in _SOURCE.findall(prompt):
        for sentence in _SENTENCE.findall(_QUOTED_LINE.sub("", text)):
            place += 1
            yield _Quote(sentence.strip(), int(number), len(wanted & _words(sentence)), place)


def _instructions(request: ChatRequest) -> str:
    return "\n".join(turn.text for turn in request.turns if turn.role == Role.SYSTEM)


def _first(quotes: Sequence[_Quote]) -> list[_Quote]:
    """How each of the first sources begins, of an outline: no word of the question stands in it."""
    beginnings = {quote.source: quote for quote in reversed(quotes)}
    return [beginnings[source] for source in sorted(beginnings)][:_MOST_SENTENCES]


def _best(quotes: Sequence[_Quote]) -> list[_Quote]:
    """The few that share most, at least half as much as the best, in the order of the sources."""
    ranked = sorted(quotes, key=lambda quote: (-quote.shared, quote.place))[:_MOST_SENTENCES]
    enough = max(1, (ranked[0].shared + 1) // 2)
    return sorted((quote for quote in ranked if quote.shared >= enough), key=lambda quote: quote.place)


def _words(text: str) -> set[str]:
    """Latin words but the commonest, and pairs of Chinese characters."""
    latin = {word for word in _LATIN_WORD.findall(text.casefold()) if word not in _COMMON}
    pairs = {pair for run in _CHINESE_RUN.findall(text) for pair in map("".join, pairwise(run))}
    return latin | pairs
