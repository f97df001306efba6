"""What is written below the slides of a presentation, which kreuzberg leaves out."""

from collections.abc import Iterator, Mapping
from io import BytesIO
from posixpath import basename
from xml.etree import ElementTree as ET
from zipfile import ZipFile

_P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_NOTES = "/notesSlide"


def speaker_notes(data: bytes) -> Mapping[int, str]:
    """By the number of the slide, from 1; of slides with notes only. What is damaged has none."""
    try:
        with ZipFile(BytesIO(data)) as archive:
            return dict(_all_notes(archive))
    except (ET.ParseError, KeyError):
        return {}


def _all_notes(archive: ZipFile) -> Iterator[tuple[int, str]]:
    names = set(archive.namelist())
    for number, slide in enumerate(_slides(archive), start=1):
        relations = f"ppt/slides/_rels/{slide}.rels"
        targets = _targets(archive, relations) if relations in names else {}
        for kind, target in targets.values():
            if kind.endswith(_NOTES) and (text := _text(archive.read(f"ppt/notesSlides/{basename(target)}"))):
                yield number, text


def _slides(archive: ZipFile) -> Iterator[str]:
    """The file names of the slides, in the order in which they are shown."""
    targets = _targets(archive, "ppt/_rels/presentation.xml.rels")
    for slide in _parsed(archive.read("ppt/presentation.xml")).iter(f"{_P}sldId"):
        yield basename(targets[slide.attrib[f"{_R}id"]][1])


def _targets(archive: ZipFile, relations: str) -> dict[str, tuple[str, str]]:
    """Type and target by id."""
    found = _parsed(archive.read(relations))
    return {one.get("Id", ""): (one.get("Type", ""), one.get("Target", "")) for one in found}


def _text(part: bytes) -> str:
    """The paragraphs of the body; the picture of the slide and its number are shapes of their own."""
    bodies = (shape for shape in _parsed(part).iter(f"{_P}sp") if _is_body(shape))
    paragraphs = (paragraph for body in bodies for paragraph in body.iter(f"{_A}p"))
    return "\n".join("".join(run.text or "" for run in paragraph.iter(f"{_A}t")) for paragraph in paragraphs).strip()


def _is_body(shape: ET.Element) -> bool:
    return any(place.get("type") == "body" for place in shape.iter(f"{_P}ph"))


def _parsed(part: bytes) -> ET.Element:
    return ET.fromstring(part)  # noqa: S314 - documents with declarations never get here
