"""The data of the old product, from the command line."""

from contextlib import AsyncExitStack
from pathlib import Path

from llm_backend.application.taking_over_old import Report, TakeOverOld
from llm_backend.bootstrap.adapters import secrets_ring
from llm_backend.bootstrap.databases import open_store_beside_servers
from llm_backend.bootstrap.telling import say, say_count
from llm_backend.config import Settings
from llm_backend.infrastructure.old_product.database import OldDatabase
from llm_backend.infrastructure.old_product.messages import OldMessages
from llm_backend.infrastructure.old_product.reading import StoredOldProduct
from llm_backend.infrastructure.security.ids import SystemClock
from llm_backend.infrastructure.security.secret_box import AesGcmSecretBox


async def import_old(settings: Settings, file: Path, redis: str, *, dry_run: bool) -> None:
    """Take over what is there, beside servers at work. May be cut off anywhere and started again."""
    report = Report()
    async with AsyncExitStack() as stack:
        messages = await stack.enter_async_context(OldMessages.open(redis))
        store = await open_store_beside_servers(settings, stack)
        take_over = TakeOverOld(
            old=StoredOldProduct(OldDatabase(file), messages),
            transactions=store.transactions,
            secrets=AesGcmSecretBox(secrets_ring(settings)),
            now=SystemClock(),
            dry_run=dry_run,
        )
        async for report in take_over():
            say_count("conversations", str(report.conversations), final=False)
    _tell(report, dry_run=dry_run)


def _tell(report: Report, *, dry_run: bool) -> None:
    say("Nothing was changed. It would take over:" if dry_run else "Taken over:")
    say_count("users", f"{report.users} ({report.users_there} were here already)")
    known = f"{report.conversations_there} were here already"
    if report.conversations_deleted:
        known += f", {report.conversations_deleted} have been deleted here"
    say_count("conversations", f"{report.conversations} ({known})")
    say_count("messages", str(report.messages))
    say_count("API keys", f"{report.api_keys}, encrypted")
    if report.remarks:
        say(f"To be looked at: {len(report.remarks)}")
        for remark in report.remarks:
            say(f"  {remark}")
    say("Knowledge bases were kept by another service: upload their documents again.")
