from collections.abc import Iterator

import pytest

from tests.servers import S3Server


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server
