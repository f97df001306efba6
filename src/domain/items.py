"""What is said in a conversation beyond plain text: pictures, files, calls of functions, and what came of them."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from llm_backend.domain.ids import ConversationId, FileId


class Speaker(StrEnum):
    """Who says something. Developers speak as the system does, and are told apart when they are quoted."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class TextPart:
    text: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    """`url` may hold the picture itself (`data:`); `detail` is how closely the model shall look."""

    url: str
    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePart:
    """A document that somebody shows: the stored `file`, or what is in `url` (`data:`).

    `text` is what it says, and None until it has been read. `mark` was drawn when it was read, for the fence round the
    text in prompts: who wrote the document cannot know it.
    """

    name: str
    file: FileId | None = None
    url: str | None = field(default=None, repr=False)
    text: str | None = field(default=None, repr=False)
    mark: str = ""


Shown: TypeAlias = TextPart | ImagePart
"""What can be put before a model."""

Content: TypeAlias = Shown | FilePart


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A message, with its parts in order."""

    speaker: Speaker
    parts: tuple[Content, ...]

    @property
    def text(self) -> str:
        return "\n".join(part.text for part in self.parts if isinstance(part, TextPart))

    @classmethod
    def plain(cls, speaker: Speaker, text: str) -> "Said":
        """Nothing but text."""
        return cls(speaker=speaker, parts=(TextPart(text),))

    @property
    def is_plain(self) -> bool:
        return len(self.parts) == 1 and isinstance(self.parts[0], TextPart)


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionCall:
    """The model wants a function of the client's to be called. `arguments` is JSON, if the model kept to it."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionResult:
    """What came of a call. `parts` are there if files are among them; `output` is the text without these."""

    call_id: str
    output: str
    parts: tuple[Content, ...] = ()


@dataclass(frozen=True, slots=True)
class Summary:
    """What stands for all that was said before it."""

    text: str


@dataclass(frozen=True, slots=True)
class Removed:
    """An item that was deleted. It keeps its place, so that the names of those behind it stay."""


Item: TypeAlias = Said | FunctionCall | FunctionResult | Summary | Removed


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What has been said already, by its kind and where it is: the `index`th item of a message."""

    kind: type[Item]
    conversation: ConversationId
    number: int
    index: int


Given: TypeAlias = Item | Reference
"""What a client says, before it has been looked up."""


def texts_of(item: Item) -> list[str]:
    """Every text in it, for those who have to look at what will be stored."""
    match item:
        case Said():
            return list(map(_text_of, item.parts))
        case FunctionCall():
            return [item.call_id, item.name, item.arguments]
        case FunctionResult():
            return [item.call_id, item.output, *map(_text_of, item.parts)]
        case Summary():
            return [item.text]
        case Removed():
            return []


def _text_of(part: Content) -> str:
    match part:
        case TextPart():
            return part.text
        case ImagePart():
            return part.url + (part.detail or "")
        case FilePart():
            return part.name + (part.url or "") + (part.text or "")
