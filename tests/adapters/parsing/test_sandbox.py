"""Reading in processes of their own: what is promised of every parser, and that nothing of them is left."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from llm_backend.domain.errors import DocumentTooLarge, DomainError
from llm_backend.infrastructure.parsing.limits import ParsingLimits
from llm_backend.infrastructure.parsing.sandbox import SandboxedParser
from llm_backend.testing.contracts.document_parser import DocumentParserContract, parsed
from tests.files import a_pdf_of, a_pdf_stream, a_sheet_that_spreads

WORK_FOR_SECONDS = json.dumps([{"number": number, "name": "x"} for number in range(200_000)]).encode()
SOON = 20

needs_proc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks processes up in /proc")


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture
async def parser(scratch: Path) -> AsyncIterator[SandboxedParser]:
    async with SandboxedParser(scratch=scratch) as parser:
        yield parser
    assert left_in(scratch) == []
    assert processes_in(scratch) == []


class TestSandboxedParser(DocumentParserContract):
    pass


async def test_a_sheet_that_spreads_everywhere_is_too_large(parser: SandboxedParser, tmp_path: Path) -> None:
    with pytest.raises(DocumentTooLarge):
        await parsed(parser, tmp_path, "a.xlsx", a_sheet_that_spreads(1_048_576, "XFD"))


def processes_in(folder: Path) -> list[int]:
    """Those whose working directory is in it, be they zombies' children or alive."""
    found = []
    for cwd in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):
            if cwd.readlink().is_relative_to(folder):
                found.append(int(cwd.parent.name))
    return found


def environment_of(process: int) -> bytes:
    return Path(f"/proc/{process}/environ").read_bytes()


def left_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def until(*, count: int, folder: Path) -> list[int]:
    """Wait for exactly that many processes."""
    async with asyncio.timeout(SOON):
        while len(found := processes_in(folder)) != count:  # noqa: ASYNC110 - nobody tells when a process ends
            await asyncio.sleep(0.02)
    return found


async def test_a_file_that_takes_too_long_is_given_up_and_its_process_killed(tmp_path: Path, scratch: Path) -> None:
    async with SandboxedParser(ParsingLimits(wall_seconds=0.05), scratch=scratch) as parser:
        with pytest.raises(DocumentTooLarge):
            await parsed(parser, tmp_path, "big.json", WORK_FOR_SECONDS)

        assert left_in(scratch) == []
        assert processes_in(scratch) == []


async def test_a_file_that_takes_too_much_processor_time_kills_its_process(
    tmp_path: Path, scratch: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = "".join(f"{number},name,{number}\n" for number in range(500_000)).encode()

    async with SandboxedParser(ParsingLimits(wall_seconds=60, cpu_seconds=1), scratch=scratch) as parser:
        with pytest.raises(DocumentTooLarge):
            await parsed(parser, tmp_path, "big.csv", rows)

    assert f"status -{signal.SIGXCPU}" in caplog.text


async def test_a_file_that_takes_too_much_memory_is_too_large(tmp_path: Path, scratch: Path) -> None:
    contents = a_pdf_stream(bytes(2**20) * 256)
    pages = b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>"
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R >>"
    bomb = a_pdf_of([b"<< /Type /Catalog /Pages 2 0 R >>", pages, page, contents])

    async with SandboxedParser(ParsingLimits(memory=384 * 2**20), scratch=scratch) as parser:
        with pytest.raises(DocumentTooLarge):
            await parsed(parser, tmp_path, "bomb.pdf", bomb)


@needs_proc
async def test_a_reading_that_is_cancelled_kills_its_process_at_once(tmp_path: Path, scratch: Path) -> None:
    async with SandboxedParser(scratch=scratch) as parser:
        reading = asyncio.ensure_future(parsed(parser, tmp_path, "big.json", WORK_FOR_SECONDS))
        await until(count=1, folder=scratch)

        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

        assert processes_in(scratch) == []
        assert left_in(scratch) == []


@needs_proc
@pytest.mark.parametrize("politely", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
async def test_what_asks_the_server_to_end_does_not_end_a_reading(
    politely: signal.Signals, tmp_path: Path, scratch: Path
) -> None:
    """A supervisor sends it to all processes of a service; the document must not be taken for a bad one."""
    async with SandboxedParser(scratch=scratch) as parser:
        await parsed(parser, tmp_path, "small.json", b"{}")
        reading = asyncio.ensure_future(parsed(parser, tmp_path, "rows.csv", b"number,name\n" * 20_000))
        (process,) = await until(count=1, folder=scratch)

        os.kill(process, politely)

        assert (await reading).text


@needs_proc
async def test_a_process_is_used_again_and_replaced_after_its_last_file(tmp_path: Path, scratch: Path) -> None:
    async with SandboxedParser(files_per_process=2, scratch=scratch) as parser:
        seen = []
        for number in range(3):
            await parsed(parser, tmp_path, f"{number}.txt", b"text")
            seen.append(processes_in(scratch))

        assert len(seen[0]) == len(seen[2]) == 1
        assert seen[1] == []
        assert seen[0] != seen[2]


@needs_proc
async def test_an_idle_process_ends(tmp_path: Path, scratch: Path) -> None:
    async with SandboxedParser(idle_seconds=0.01, scratch=scratch) as parser:
        await parsed(parser, tmp_path, "a.txt", b"text")

        await until(count=0, folder=scratch)


@needs_proc
async def test_a_process_whose_server_is_gone_ends_and_cleans_up(tmp_path: Path, scratch: Path) -> None:
    parser = SandboxedParser(scratch=scratch)
    await parsed(parser, tmp_path, "a.txt", b"text")

    parser._idle[0]._process.writer.close()  # as the kernel does

    await until(count=0, folder=scratch)
    assert left_in(scratch) == []
    await parser.aclose()


@needs_proc
async def test_a_process_sees_no_secrets(tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    async with SandboxedParser(scratch=scratch) as parser:
        await parsed(parser, tmp_path, "a.txt", b"text")

        (process,) = processes_in(scratch)
        assert b"sk-secret" not in environment_of(process)


@needs_proc
async def test_no_more_files_are_read_at_once_than_allowed(tmp_path: Path, scratch: Path) -> None:
    async with SandboxedParser(at_once=2, scratch=scratch) as parser:
        await asyncio.gather(*(parsed(parser, tmp_path, f"{number}.txt", b"text") for number in range(20)))

        assert len(processes_in(scratch)) <= 2


async def test_a_process_that_died_while_idle_is_not_the_next_documents_fault(tmp_path: Path, scratch: Path) -> None:
    async with SandboxedParser(scratch=scratch) as parser:
        await parsed(parser, tmp_path, "a.txt", b"text")
        await parser._idle[0]._process.kill()

        assert (await parsed(parser, tmp_path, "b.txt", b"more")).text == "more"


async def test_a_missing_file_is_a_mistake_of_ours(parser: SandboxedParser, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        await parser.parse(tmp_path / "nowhere", "a.txt")

    assert not isinstance(error.value, DomainError)
