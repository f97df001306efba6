"""Uploaded files in an object store."""

import asyncio
import re
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from secrets import token_hex
from threading import Lock
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

from pyarrow import ArrowException, fs

from llm_backend.application.ports.blobs import BlobKey, BlobNotFound
from llm_backend.domain.errors import BlobsUnavailable, StorageFull
from llm_backend.domain.secrets import Secret

PIECE = 1024 * 1024  # bytes
THREADS = 16  # of our own: a store that is silent must not hold up who reads and writes files on the disk
ATTEMPTS = 3  # of each request, with pauses of some hundred milliseconds in between
CONNECT_TIMEOUT = 3  # seconds
_KEY = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]*(\.[0-9a-f]+\.part)?")
# Arrow tells the words of the server, and nothing more: of S3's own codes, then of those that build upon it.
_FULL = re.compile(r"QuotaExceeded|StorageFull|HTTP status 507", re.IGNORECASE)

P = ParamSpec("P")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How the store is reached: without an endpoint, Amazon's own; without keys, in the way of the place.

    A request that gets nothing for `silence` is given up, and made again at most twice.
    """

    endpoint: str | None = None
    region: str = "us-east-1"
    access_key: Secret | None = None
    secret_key: Secret | None = None
    silence: timedelta = timedelta(seconds=8)


class S3Blobs:
    """`Blobs` as objects of a bucket, which has to be there, under a prefix and their keys.

    What is written to a stream of pyarrow's is published when that is closed, or forgotten, whatever happened before.
    So a file gets a name of its own, and is copied by the store to its key once it is whole.
    """

    def __init__(self, place: str, access: Access) -> None:
        """`place` is s3://bucket/prefix."""
        parts = urlsplit(place)
        self._bucket = parts.netloc
        self._folder = f"{self._bucket}/{parts.path.strip('/')}".rstrip("/")
        self._access = access
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="objects")

    def close(self) -> None:
        """Requests that are under way end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def put(self, key: BlobKey, content: AsyncIterable[bytes]) -> None:
        path = self._path(key)
        part = _Part(self._path(BlobKey(f"{key}.{token_hex(8)}.part")))
        with _translated():
            try:
                await self._run(part.open, self._files)
                async for piece in content:
                    await self._run(part.write, piece)
                await self._run(part.publish, self._files, path)
            except BaseException:
                self._threads.submit(part.discard, self._files)  # nobody waits: what is left is found among the `keys`
                raise

    async def read(self, key: BlobKey) -> AsyncIterator[bytes]:
        path = self._path(key)
        with _translated():
            stream = await self._run(self._opened, path)
            while piece := await self._run(stream.read, PIECE):
                yield piece

    async def delete(self, keys: Sequence[BlobKey]) -> None:
        with _translated():
            await self._run(self._remove, [self._path(key) for key in keys])

    async def keys(self) -> Sequence[BlobKey]:
        with _translated():
            names = await self._run(self._names)
        return [BlobKey(name) for name in names if _KEY.fullmatch(name)]

    def _path(self, key: BlobKey) -> str:
        if not _KEY.fullmatch(key):
            raise ValueError("this is no key of a blob")
        return f"{self._folder}/{key}"

    async def _run(self, function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: function(*args, **kwargs))

    @cached_property
    def _files(self) -> Any:
        access, endpoint = self._access, urlsplit(self._access.endpoint or "")
        return fs.S3FileSystem(
            access_key=access.access_key.reveal() if access.access_key else None,
            secret_key=access.secret_key.reveal() if access.secret_key else None,
            region=access.region,
            scheme=endpoint.scheme or "https",
            endpoint_override=endpoint.netloc or None,
            connect_timeout=CONNECT_TIMEOUT,
            request_timeout=access.silence.total_seconds(),
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
            background_writes=False,  # an error comes up where it belongs, and what waits to be sent is bounded
        )

    # In threads ------------------------------------------------------------------------------------------------------

    def _opened(self, path: str) -> Any:
        try:
            return self._files.open_input_stream(path)
        except FileNotFoundError as error:
            self._check_bucket()
            raise BlobNotFound from error

    def _remove(self, paths: Sequence[str]) -> None:
        for path in paths:
            with suppress(FileNotFoundError):
                self._files.delete_file(path)

    def _names(self) -> list[str]:
        found = self._files.get_file_info(fs.FileSelector(self._folder, allow_not_found=True))
        if not found:
            self._check_bucket()
        return sorted(info.base_name for info in found if info.type is fs.FileType.File)

    def _check_bucket(self) -> None:
        """Where there is no bucket, nothing is said about what was in it."""
        if self._files.get_file_info(self._bucket).type is fs.FileType.NotFound:
            raise BlobsUnavailable


class _Part:
    """A file that is not whole yet. Whoever is cancelled leaves a thread at work, and a stream bears one at a time."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._stream: Any = None
        self._lock = Lock()

    def open(self, files: Any) -> None:
        with self._lock:
            self._stream = files.open_output_stream(self._path)

    def write(self, piece: bytes) -> None:
        with self._lock:
            self._stream.write(piece)

    def publish(self, files: Any, path: str) -> None:
        with self._lock:
            self._stream.close()
            files.copy_file(self._path, path)
        self.discard(files)

    def discard(self, files: Any) -> None:
        """Never raises: what is still there afterwards is found among the keys."""
        with self._lock, suppress(OSError, ArrowException):
            if self._stream:
                self._stream.close()
                files.delete_file(self._path)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OSError, ArrowException) as error:
        raise (StorageFull if _FULL.search(str(error)) else BlobsUnavailable) from error
