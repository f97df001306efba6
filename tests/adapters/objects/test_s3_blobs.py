"""Uploaded files in an object store that may stop, go silent, be full, or lose its bucket."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from llm_backend.application.ports.blobs import BlobKey, BlobNotFound
from llm_backend.domain.errors import BlobsUnavailable, StorageFull
from llm_backend.domain.secrets import Secret
from llm_backend.infrastructure.objects.blobs import Access, S3Blobs
from llm_backend.testing.contracts.blobs import KEY, OTHER, BlobsContract, broken_off, content_of, in_pieces
from tests.servers import S3Server

SILENCE = timedelta(seconds=1)


@contextmanager
def opened(endpoint: str, place: str = f"s3://{S3Server.bucket}/originals") -> Iterator[S3Blobs]:
    key = Secret("test")
    blobs = S3Blobs(place, Access(endpoint=endpoint, access_key=key, secret_key=key, silence=SILENCE))
    yield blobs
    blobs.close()


@pytest.fixture
def blobs(s3: S3Server) -> Iterator[S3Blobs]:
    with opened(s3.endpoint, f"s3://{s3.bucket}/{uuid.uuid4()}") as blobs:
        yield blobs


@pytest.fixture
def server() -> Iterator[S3Server]:
    """One that may be stopped."""
    with S3Server() as server:
        yield server


class TestS3Blobs(BlobsContract): ...


async def test_two_processes_see_the_same_and_two_prefixes_do_not(s3: S3Server, blobs: S3Blobs) -> None:
    place = f"s3://{s3.bucket}/{uuid.uuid4()}"
    with opened(s3.endpoint, place) as one, opened(s3.endpoint, f"{place}/") as other:
        await one.put(KEY, in_pieces(b"hello"))

        assert await content_of(other) == b"hello"
        assert list(await other.keys()) == [KEY]
        assert not await blobs.keys()


async def test_a_bucket_of_its_own_needs_no_prefix(server: S3Server) -> None:
    with opened(server.endpoint, f"s3://{server.bucket}") as blobs:
        await blobs.put(KEY, in_pieces(b"hello"))

        assert await content_of(blobs) == b"hello"
        assert list(await blobs.keys()) == [KEY]


@pytest.mark.parametrize("key", ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\\b", "a\x00b", ".hidden", "a.txt"])
async def test_what_is_no_key_of_ours_never_becomes_a_path(blobs: S3Blobs, key: str) -> None:
    with pytest.raises(ValueError):
        await blobs.put(BlobKey(key), in_pieces(b"hello"))
    with pytest.raises(ValueError):
        await content_of(blobs, BlobKey(key))
    with pytest.raises(ValueError):
        await blobs.delete([BlobKey(key)])


async def test_what_breaks_off_leaves_at_most_a_part_that_can_be_deleted(blobs: S3Blobs) -> None:
    with pytest.raises(BlobsUnavailable):
        await blobs.put(KEY, broken_off(bytes(6 * 1024 * 1024)))

    parts = await blobs.keys()
    assert all(part.startswith(f"{KEY}.") and part.endswith(".part") for part in parts)
    await blobs.delete(parts)
    with pytest.raises(BlobNotFound):
        await content_of(blobs)


async def check_all_unavailable(blobs: S3Blobs) -> None:
    with pytest.raises(BlobsUnavailable):
        await blobs.put(OTHER, in_pieces(b"meanwhile"))
    with pytest.raises(BlobsUnavailable):
        await content_of(blobs)
    with pytest.raises(BlobsUnavailable):
        await blobs.keys()


async def test_a_store_that_is_silent_or_away_is_unavailable_and_comes_back(server: S3Server) -> None:
    with opened(server.endpoint) as blobs:
        await blobs.put(KEY, in_pieces(b"before"))

        server.freeze()
        await check_all_unavailable(blobs)
        server.thaw()
        assert await content_of(blobs) == b"before"

        server.stop()
        await check_all_unavailable(blobs)
        with pytest.raises(BlobsUnavailable):
            await blobs.delete([KEY])


async def test_where_the_bucket_is_missing_nothing_is_said_of_what_was_in_it(server: S3Server) -> None:
    with opened(server.endpoint) as blobs:
        server.lose_everything()

        await check_all_unavailable(blobs)

        server.make_bucket()
        with pytest.raises(BlobNotFound):
            await content_of(blobs)


class _Full(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = b"<Error><Code>XMinioStorageFull</Code><Message>No space</Message></Error>"
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(507)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_PUT = do_POST  # noqa: N815 - its name there

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Quietly."""


async def test_a_store_that_is_full_says_so() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Full) as server:
        Thread(target=server.serve_forever).start()
        with opened(f"http://127.0.0.1:{server.server_port}") as blobs, pytest.raises(StorageFull):
            await blobs.put(KEY, in_pieces(b"hello"))
        server.shutdown()
