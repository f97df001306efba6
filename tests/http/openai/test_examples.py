"""The examples of `docs/openai` do what they say, against a live server."""

import asyncio
import os
import re
import sys
from pathlib import Path

import httpx

from llm_backend.interface.http.app import create_app
from tests.conftest import require_binary
from tests.http.backends import memory_backend
from tests.http.clients import Client
from tests.live import serving

DOCUMENTS = Path(__file__).parents[3] / "docs" / "openai"
TIMEOUT = 120.0  # seconds


def example(document: str, language: str) -> str:
    """The only block of that language."""
    text = (DOCUMENTS / document).read_text(encoding="utf-8")
    (block,) = re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return str(block)


async def output_of(command: list[str], folder: Path) -> str:
    """What a program writes that is told of a live server and a key by its environment, in `folder`."""
    async with (
        memory_backend(folder / "data") as backend,
        serving(create_app(backend)) as server,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        user = await (await Client(http).new_user()).with_key()
        environment = {**os.environ, "OPENAI_BASE_URL": f"{server.url}/v1", "OPENAI_API_KEY": user.token or ""}
        process = await asyncio.create_subprocess_exec(
            *command, cwd=folder, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        async with asyncio.timeout(TIMEOUT):
            output, _ = await process.communicate()
    text = output.decode()
    assert process.returncode == 0, text
    return text


async def test_the_python_example_of_files(tmp_path: Path) -> None:
    output = await output_of([sys.executable, "-c", example("files.md", "python")], tmp_path)

    assert output.startswith("seller.txt ")
    assert output.rstrip().endswith("The seller delivers within ten days.")


async def test_the_curl_example_of_files(tmp_path: Path) -> None:
    require_binary("curl")

    output = await output_of([require_binary("bash"), "-euc", example("files.md", "bash")], tmp_path)

    assert "The buyer pays within ten days." in output
    assert '"object":"vector_store.search_results.page"' in output
