"""Questions about whole documents – what is this about? – which no single passage answers.

They are told by their form, in English and Chinese. What is not recognized is searched for like any other question.
"""

import re
from collections.abc import Callable, Sequence

from llm_backend.domain.knowledge import DocumentSummary

LONGEST_QUESTION = 200  # characters; whoever writes more asks for something in particular
_NAMED = "⟨doc⟩"

# English -------------------------------------------------------------------------------------------------------------

_NOUN = (
    r"(?:documents?|docs?|files?|pdfs?|papers?|reports?|articles?|books?|texts?|uploads?|attachments?|presentations?"
    r"|slides|contracts?|manuals?|guides?|specifications?|knowledge ?bases?|collections?|library|⟨doc⟩)"
)
_POINTER = (
    r"(?:(?:this|these|that|those|the|my|our|your|all|each|every|both|whole|entire|uploaded|attached|given|of|and"
    r"|⟨doc⟩) )*"
)
_DOCUMENT = rf"(?:{_POINTER}{_NOUN}|it|this|that|these|them|everything)"
_POLITE = r"(?:(?:please|can you|could you|would you|will you|i want you to|i need you to|help me) )*"
_SIZE = r"(?:(?:a|an|the|me|us|brief|short|quick|concise|detailed|general|high-level|one-paragraph) )*"
_SUMMARY = r"(?:summary|overview|outline|synopsis|abstract|gist)"
_MAIN = r"(?:the )?(?:main|key|major|central|core|most important)"
_POINTS = r"(?:points?|topics?|ideas?|themes?|findings?|takeaways?|messages?|subjects?|contents?)"
_COVER = r"(?:say|cover|covered|contain|discuss|discussed|describe|deal with|talk about)"
_IS = r"(?: is|'s|s| are)"
_AFTERWARDS = (
    r"(?: (?:please|briefly|in general|for me|for us|in (?:a few|one|two|three|\d+|simple|short)[\w ]{0,30}))*"
)
_ENGLISH = rf"""
what{_IS} {_DOCUMENT} (?:all |mainly |mostly |generally )?about
what (?:do|does) {_DOCUMENT} (?:mainly |generally )?{_COVER}
what{_IS} in {_POINTER}{_NOUN}
(?:give|write|provide|show|make|i need|i want) {_SIZE}{_SUMMARY}(?: (?:of|for|about|on) {_DOCUMENT})?
{_SIZE}{_SUMMARY} of {_DOCUMENT}
(?:briefly )?(?:summari[sz]e|sum up|outline|recap|tl;?dr:?)(?: {_DOCUMENT})?
(?:what{_IS}|list|give me|name) {_MAIN} {_POINTS}(?: (?:of|in|from|covered in|discussed in) {_DOCUMENT})?
(?:what|which) {_POINTS} (?:do|does|are|is) {_DOCUMENT} (?:{_COVER}|about)
(?:what|which) {_POINTS} are {_COVER} in {_DOCUMENT}
(?:describe|explain|tell me about) {_POINTER}{_NOUN}
"""

# Chinese, simplified, without blanks ---------------------------------------------------------------------------------

_NOUN_ZH = (
    r"(?:文[档件章本]?|档案|[资材]料|报告|论文|书|合同|手册|课件|幻灯片|pdf|ppt|知识库|附件|它|⟨doc⟩)"
    r"(?:里面?|中|内)?"
)
_POINTER_ZH = (
    r"(?:请问)?(?:这|那|该|此|本|我的|上传的|整|全|全部|所有|每)?(?:两|三|几)?(?:个|份|篇|些|本|部)?的?"
    r"(?:⟨doc⟩[和与、])*"
)
_DOCUMENT_ZH = rf"(?:{_POINTER_ZH}{_NOUN_ZH})"
_POLITE_ZH = r"(?:请你?|帮我|帮忙|麻烦你?|你能|能否|能不能|可以|给我|为我|用一句话|用几句话|简要|简单|简短|详细|地)*"
_MAINLY_ZH = r"(?:主要|大概|大致|到底|都|究竟|具体|是|在)*"
_TELL_ZH = r"(?:讲|说|写|谈|介绍|描述|论述|讨论|关于|涉及|包含|包括|有)(?:述|到|了|的|是)*"
_WHAT_ZH = r"些?(?:什么|啥|哪些|哪方面|哪些方面)(?:内容|东西|主题|方面|事情|事|问题)?的?(?:呢|吗|啊|呀)?"
_SUM_UP_ZH = r"(?:总结|概括|概述|归纳|摘要|小结|综述)"
_PRESENT_ZH = r"(?:介绍|描述|说明|讲讲|说说)"
_CORE_ZH = r"(?:主要|核心|中心|关键|大致|主体|整体)"
_MATTER_ZH = r"(?:内容|思想|观点|主题|要点|大意|重点|梗概|信息)"
_CHINESE = rf"""
{_DOCUMENT_ZH}{_MAINLY_ZH}{_TELL_ZH}{_WHAT_ZH}
{_POLITE_ZH}{_SUM_UP_ZH}(?:一下|下)?{_DOCUMENT_ZH}?的?{_CORE_ZH}?{_MATTER_ZH}?(?:吗|吧)?
{_POLITE_ZH}{_PRESENT_ZH}(?:一下|下)?{_DOCUMENT_ZH}的?{_CORE_ZH}?{_MATTER_ZH}?(?:吗|吧)?
{_POLITE_ZH}(?:把|将|对){_DOCUMENT_ZH}(?:进行|做|作)?(?:一个|个)?{_SUM_UP_ZH}(?:一下)?
{_DOCUMENT_ZH}的?{_CORE_ZH}?(?:{_MATTER_ZH}|摘要|概述)(?:是|有|包括)?(?:什么|哪些|啥)?呢?
{_CORE_ZH}{_MATTER_ZH}(?:是|有|包括)(?:什么|哪些|啥)呢?
{_POLITE_ZH}(?:给出?|写|生成)(?:一?[个份段])?{_DOCUMENT_ZH}的?(?:{_SUM_UP_ZH}|{_CORE_ZH}?{_MATTER_ZH})
"""

_OVERVIEW = re.compile(
    "|".join([rf"{_POLITE}(?:{'|'.join(_ENGLISH.strip().splitlines())}){_AFTERWARDS}", *_CHINESE.strip().splitlines()])
)
_CHINESE_LETTER = re.compile("[\u3400-\u9fff]")
_LOOSE = " \t\n.,;:!?。，；：！？…\"'“”‘’《》「」"


def asks_for_overview(question: str, documents: Sequence[DocumentSummary], fold: Callable[[str], str]) -> bool:
    """Whether the question is about whole documents, be they named or not. `fold` takes away variants of spelling."""
    if len(question) > LONGEST_QUESTION:
        return False
    text = fold(question)
    return _is_overview(text) or _is_overview(_with_names_replaced(text, named(question, documents, fold), fold))


def _is_overview(text: str) -> bool:
    return _OVERVIEW.fullmatch(_tidy(text)) is not None


def _with_names_replaced(text: str, documents: Sequence[DocumentSummary], fold: Callable[[str], str]) -> str:
    text = _without_marks(text)
    for name in sorted({_spoken(document.name, fold) for document in documents}, key=len, reverse=True):
        text = text.replace(name, f" {_NAMED} ")
    return text


def named(question: str, documents: Sequence[DocumentSummary], fold: Callable[[str], str]) -> list[DocumentSummary]:
    """The documents whose names, with or without their extensions, stand in the question."""
    text = _without_marks(fold(question))
    return [document for document in documents if _stands_in(_spoken(document.name, fold), text)]


def _spoken(name: str, fold: Callable[[str], str]) -> str:
    return _without_marks(fold(name.rpartition(".")[0] or name)).strip()


def _stands_in(name: str, text: str) -> bool:
    if _CHINESE_LETTER.search(name):
        return len(name) > 1 and name in text
    return len(name) > 2 and re.search(rf"(?<![a-z0-9]){re.escape(name)}(?![a-z0-9])", text) is not None


def _without_marks(text: str) -> str:
    """File names are spoken with blanks in the place of underscores and hyphens."""
    return re.sub(r"[\s_\-]+", " ", text)


def _tidy(text: str) -> str:
    """One form for all spacings; between and beside Chinese characters there are no blanks."""
    text = re.sub(rf"{_NAMED} ?\.[a-z0-9]{{1,5}}(?![a-z0-9])", _NAMED, text)
    text = re.sub(r"[\s\"'“”‘’《》「」]+", lambda marks: "'" if marks.group() in "'’" else " ", text)
    if _CHINESE_LETTER.search(text):
        text = text.replace(" ", "")
    return text.replace("’", "'").strip(_LOOSE)
