"""Keys are replaced while everybody is served, and whatever cuts that off, every secret opens."""

import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from llm_backend.application.conversations import key_binding
from llm_backend.application.key_rotation import DropOldKeys, KeysStillNeeded, Progress, RenewKey, SealAnew
from llm_backend.domain.errors import DatabaseUnavailable
from llm_backend.domain.ids import ConversationId
from llm_backend.domain.secrets import SealedSecret, Secret
from llm_backend.infrastructure.memory.store import MemoryStore
from llm_backend.infrastructure.security.key_ring import FileKeyRing
from llm_backend.infrastructure.security.secret_box import AesGcmSecretBox
from llm_backend.testing.builders import a_conversation, a_user
from llm_backend.testing.contracts.store import ALICE, given
from llm_backend.testing.faults import faults_at_every_call

SETTLING = timedelta(minutes=10)
AN_HOUR = 3600.0  # seconds


class House:
    """A ring in a file, and conversations whose secrets are sealed with it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "keys"
        self.ring = FileKeyRing(self.path, 32)
        self.box = AesGcmSecretBox(self.ring)
        self.store = MemoryStore()
        self.secrets = self.store.sealed_secrets
        self.renew = RenewKey(self.ring, SETTLING, self.secrets)
        self.drop_old = DropOldKeys(self.ring, SETTLING, self.secrets)
        self.seal = SealAnew(self.ring, self.box, self.secrets, batch=2, pause=timedelta(0))

    def sealed(self, number: int) -> SealedSecret:
        return self.box.seal(Secret(f"sk-{number}"), bound_to=key_binding(ALICE, ConversationId(number)))

    async def add(self, *numbers: int) -> None:
        await given(self.store, *(a_conversation(number, api_key=self.sealed(number)) for number in numbers))

    async def seal_anew(self) -> Progress:
        told = [progress async for progress in self.seal()]
        return told[-1] if told else Progress()

    async def opened(self, numbers: Sequence[int]) -> list[str]:
        """The secrets, as a server that has just started reads them."""
        box, found = AesGcmSecretBox(FileKeyRing(self.path, 32)), []
        for number in numbers:
            thread = await self.store.conversation_views.thread(ALICE, ConversationId(number))
            assert thread.conversation.api_key
            opened = box.open(thread.conversation.api_key, bound_to=key_binding(ALICE, ConversationId(number)))
            found.append(opened.reveal())
        return found

    def pass_an_hour(self) -> None:
        changed = self.path.stat().st_mtime - AN_HOUR
        os.utime(self.path, (changed, changed))


NUMBERS = (10, 20, 30, 40, 50)
SECRETS = [f"sk-{number}" for number in NUMBERS]


@pytest.fixture
async def house(tmp_path: Path) -> House:
    house = House(tmp_path)
    await given(house.store, a_user(1))
    await house.add(*NUMBERS)
    return house


async def test_all_secrets_come_under_the_new_key(house: House) -> None:
    new = await house.renew()

    progress = await house.seal_anew()

    assert progress == Progress(done=5, total=5)
    assert dict(await house.secrets.count_by_key()) == {new: 5}
    assert await house.opened(NUMBERS) == SECRETS


async def test_progress_is_told_after_each_transaction(house: House) -> None:
    await house.renew()

    told = [progress.done async for progress in house.seal()]

    assert told == [2, 4, 5]


async def test_sealing_again_finds_nothing_to_do(house: House) -> None:
    await house.renew()
    await house.seal_anew()

    assert [progress async for progress in house.seal()] == []


async def test_what_a_server_seals_behind_its_back_is_sealed_anew_as_well(house: House) -> None:
    late = house.sealed(5)
    await house.renew()

    added = False
    async for _ in house.seal():
        if not added:
            await given(house.store, a_conversation(5, api_key=late))
            added = True

    assert list(await house.secrets.count_by_key()) == [house.ring.key_ids()[0]]
    assert await house.opened([5]) == ["sk-5"]


async def test_what_no_key_opens_is_counted_and_left_alone(house: House, tmp_path: Path) -> None:
    foreign = replace(house.sealed(60), key_id="lost")
    await given(house.store, a_conversation(60, api_key=foreign))
    await house.renew()

    progress = await house.seal_anew()

    assert progress == Progress(done=5, total=6, unreadable=1)
    assert (await house.secrets.count_by_key())["lost"] == 1


async def test_a_rotation_that_was_cut_off_anywhere_is_finished_by_the_next(tmp_path: Path) -> None:
    number = 0
    for faults in faults_at_every_call(DatabaseUnavailable):
        number += 1
        house = House(tmp_path / str(number))
        await given(house.store, a_user(1))
        await house.add(*NUMBERS)
        secrets = faults.wrap(house.secrets)
        try:
            await replace(house.renew, secrets=secrets)()
            async for _ in replace(house.seal, secrets=secrets)():
                pass
        except DatabaseUnavailable:
            assert await house.opened(NUMBERS) == SECRETS

        await house.renew()
        await house.seal_anew()

        assert list(await house.secrets.count_by_key()) == [house.ring.key_ids()[0]]
        assert await house.opened(NUMBERS) == SECRETS
    assert number > 5


async def test_a_rotation_that_was_cut_off_makes_no_further_key(house: House) -> None:
    await house.renew()
    keys = house.ring.key_ids()

    assert await house.renew() is None

    assert house.ring.key_ids() == keys


async def test_old_keys_wait_until_servers_have_surely_seen_the_new_one(house: House) -> None:
    await house.renew()
    await house.seal_anew()

    with pytest.raises(KeysStillNeeded, match="10 minutes"):
        await house.drop_old()

    assert len(house.ring.key_ids()) == 2
    house.pass_an_hour()
    assert len(await house.drop_old()) == 1
    assert len(house.ring.key_ids()) == 1
    assert await house.opened(NUMBERS) == SECRETS


async def test_a_key_that_a_secret_needs_is_never_dropped(house: House) -> None:
    await house.renew()

    assert await house.drop_old(at_once=True) == []

    assert await house.opened(NUMBERS) == SECRETS


async def test_with_one_key_there_is_nothing_to_drop_and_nothing_to_wait_for(house: House) -> None:
    assert await house.drop_old() == []


async def test_the_next_rotation_drops_what_the_last_one_left(house: House) -> None:
    await house.renew()
    await house.seal_anew()
    house.pass_an_hour()

    await house.renew()
    await house.seal_anew()

    assert len(house.ring.key_ids()) == 2
    assert await house.opened(NUMBERS) == SECRETS


async def test_a_rotation_right_after_another_drops_nothing(house: House) -> None:
    for _ in range(2):
        await house.renew()
        await house.seal_anew()

    assert len(house.ring.key_ids()) == 3
