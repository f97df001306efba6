"""Whatever comes in under /v1, what goes out is as documented: a valid body, or an error with its four keys.

The requests are made up from the OpenAPI document, half of them to break it; a new route is in it by itself.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from llm_backend.application.backend import Backend
from llm_backend.interface.http.app import create_app
from llm_backend.interface.http.openai_errors import ROOT
from llm_backend.interface.http.options import HttpOptions
from tests.http.clients import Client
from tests.http.conftest import Profile
from tests.http.openai.test_files import new_file
from tests.http.openai.test_frame import as_error
from tests.http.openai.test_vector_stores import attach, new_store
from tests.live import serving

EXAMPLES = 8  # of each kind, for each method of each path
EVENTS = "text/event-stream"
AS_DOCUMENTED = [status_code_conformance, content_type_conformance, response_schema_conformance]

bounded = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def profile() -> Profile:
    """What is read and refused is the same on both."""
    return Profile()


@pytest.mark.parametrize("mode", GenerationMode)
async def test_any_request_gets_a_valid_reply(
    backend: Backend, options: HttpOptions, alice: Client, mode: GenerationMode
) -> None:
    document = (await alice.get("/schema/openapi.json")).json()
    operations = list(schemathesis.openapi.from_dict(document).get_all_operations())
    readable = [operation.ok() for operation in operations if isinstance(operation, Ok)]
    mine = [operation for operation in readable if operation.path.startswith(ROOT)]
    headers = {"Authorization": f"Bearer {alice.token}"}

    async with serving(create_app(backend, options)) as server:
        for operation in mine:
            cases = operation.as_strategy(generation_mode=mode)
            existing = await what_exists(alice)
            send: Callable[[Case[Any]], Response] = lambda case: case.call(  # noqa: E731
                base_url=server.url, headers=headers, timeout=30
            )
            await asyncio.to_thread(try_out, cases, existing, send)

    assert len(readable) == len(operations)
    assert len(mine) > 20


async def what_exists(client: Client) -> Mapping[str, str]:
    """By the names that parameters of paths have, so that not all requests end with a 404."""
    store, file = await new_store(client), await new_file(client)
    await attach(client, store, file)
    return {"vector_store_id": store, "file_id": file, "name": "gpt-4o"}


def try_out(
    cases: "st.SearchStrategy[Case[Any]]", existing: Mapping[str, str], send: Callable[[Case[Any]], Response]
) -> None:
    @bounded
    @given(case=cases, is_known=st.booleans())
    def ask(case: Case[Any], is_known: bool) -> None:
        if is_known:
            known = {name: existing[name] for name in case.path_parameters if name in existing}
            case.path_parameters = {**case.path_parameters, **known}
        check(case, send(case))

    ask()


def check(case: Case[Any], reply: Response) -> None:
    said = f"{case.as_curl_command()}\n{reply.status_code} {reply.text[:500]}"
    assert reply.status_code < 500, said
    assert reply.headers["x-request-id"], said
    if reply.headers["content-type"][0].startswith(EVENTS):
        *_, last = reply.text.removesuffix("\n\n").split("\n\n")
        assert last == "data: [DONE]" or as_error(json.loads(last.removeprefix("data: "))), said
        return
    case.validate_response(reply, checks=AS_DOCUMENTED)
    if reply.status_code >= 400:
        as_error(reply.json())
