"""The backend inside another program: no HTTP, no server, the same use cases."""

import asyncio
import sys
from pathlib import Path

from llm_backend import Settings, open_backend
from llm_backend.domain.answers import Cited, Delta

HANDBOOK = Path(__file__).with_name("handbook.docx")


async def main(data_folder: Path) -> None:
    """Ask the handbook a question, and print the answer as it arrives."""
    async with open_backend(Settings(data_folder=data_folder)) as backend:
        user = await backend.register_user("ada", "correct horse battery staple")
        shelf = await backend.create_knowledge_base(user, "Handbook")
        await backend.upload_document(user, shelf.id, HANDBOOK, HANDBOOK.name)
        conversation = await backend.create_conversation(user, "Holiday", "demo")
        answer = await backend.ask_knowledge_base(user, conversation.id, shelf.id, "How many days of holiday do I get?")
        async for batch in backend.follow_answer(user, answer):
            for _, event in batch:
                match event:
                    case Delta(text):
                        sys.stdout.write(text)
                    case Cited(citations):
                        sys.stdout.write("".join(f"\n[{c.number}] {c.document_name}: {c.quote}" for c in citations))
    sys.stdout.write("\n")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1] if len(sys.argv) > 1 else "data-of-the-example")))
