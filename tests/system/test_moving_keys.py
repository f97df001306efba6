"""What users have sealed arrives only where it can be opened."""

from pathlib import Path
from typing import NamedTuple

import pytest

from llm_backend.bootstrap.backups import backup, restore
from llm_backend.bootstrap.moving import migrate_store
from llm_backend.bootstrap.rotation import Rotation, rotate_secrets_keys
from llm_backend.bootstrap.sealing import KeysMissing
from llm_backend.config import Settings
from llm_backend.domain.ids import ConversationId, UserId
from llm_backend.domain.secrets import Secret
from llm_backend.testing.scripted_chat_model import ScriptedChatModel
from tests.http.backends import fake_backend

OTHER = "6e" * 32
SIGNING = "s" * 32
OWN = Secret("sk-of-the-user")


class Household(NamedTuple):
    """A user, and a conversation with a key of the user's own."""

    user: UserId
    conversation: ConversationId


def place(folder: Path, **values: object) -> Settings:
    return Settings.from_mapping({"data_folder": str(folder), **values}, environ={})


async def furnished(settings: Settings) -> Household:
    async with fake_backend(settings.data_folder, settings) as backend:
        user = await backend.register_user("ada", "correct horse")
        conversation = await backend.create_conversation(user, "Talk", "some-model", OWN)
        return Household(user, conversation.id)


async def assert_usable(settings: Settings, household: Household) -> None:
    model = ScriptedChatModel()
    async with fake_backend(settings.data_folder, settings, chat_model=model) as backend:
        await backend.send_message(household.user, household.conversation, "Hello")
        assert (await model.asked()).api_key == OWN


def keys_of(settings: Settings) -> list[str]:
    return settings.key_file.read_text().split()


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    return place(tmp_path / "here")


async def test_a_configuration_that_lacks_the_keys_is_refused_before_anything_is_copied(
    here: Settings, tmp_path: Path
) -> None:
    household = await furnished(here)
    there = tmp_path / "there"

    with pytest.raises(KeysMissing, match=rf"1 API keys .* the keys in {here.key_file} to secrets_keys of its"):
        await migrate_store(here, place(there, secrets_keys=[OTHER]))
    complete = place(there, secrets_keys=[OTHER, *keys_of(here)])
    await migrate_store(here, complete)

    assert not complete.key_file.exists()
    await assert_usable(complete, household)


async def test_a_file_that_lacks_the_keys_of_the_old_configuration_is_refused_as_well(tmp_path: Path) -> None:
    here, there = place(tmp_path / "here", secrets_keys=[OTHER]), place(tmp_path / "there")
    household = await furnished(here)

    with pytest.raises(KeysMissing, match=rf"Add the secrets_keys of the old configuration to {there.key_file}"):
        await migrate_store(here, there)
    there.key_file.write_text(f"{OTHER}\n")
    there.key_file.chmod(0o600)
    await migrate_store(here, there)

    await assert_usable(there, household)


async def test_a_key_that_was_lost_before_keeps_nobody_from_moving(
    here: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await furnished(here)
    here.key_file.write_text(f"{OTHER}\n")
    archive, there = tmp_path / "backup.tar.gz", place(tmp_path / "there", secrets_keys=[OTHER])

    await backup(here, archive, with_keys=True)
    await migrate_store(here, there)
    await restore(place(tmp_path / "restored", secrets_keys=[OTHER]), archive)

    assert capsys.readouterr().out.count("note: 1 API keys of users are sealed with key") == 2


@pytest.mark.parametrize("with_keys", [False, True])
async def test_a_backup_is_not_restored_where_its_secrets_cannot_be_opened(
    here: Settings, with_keys: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    household = await furnished(here)
    archive, there = tmp_path / "backup.tar.gz", tmp_path / "there"
    await backup(here, archive, with_keys=with_keys)

    with pytest.raises(KeysMissing, match=r"1 API keys .* to secrets_keys of its configuration"):
        await restore(place(there, secrets_keys=[OTHER], jwt={"secret": SIGNING}), archive)
    complete = place(there, secrets_keys=[OTHER, *keys_of(here)], jwt={"secret": SIGNING})
    await restore(complete, archive)

    said = capsys.readouterr().out
    assert " restored\n" not in said
    assert said.count("not restored, as the configuration has keys of its own") == (2 if with_keys else 0)
    assert not complete.key_file.exists()
    await assert_usable(complete, household)


async def test_keys_in_a_backup_come_back_into_the_file_that_is_read(here: Settings, tmp_path: Path) -> None:
    household = await furnished(here)
    archive, there = tmp_path / "backup.tar.gz", place(tmp_path / "there")

    await backup(here, archive, with_keys=True)
    await restore(there, archive)

    assert keys_of(there) == keys_of(here)
    await assert_usable(there, household)


async def test_a_backup_of_before_a_rotation_is_restored_only_beside_its_old_key(
    here: Settings, tmp_path: Path
) -> None:
    await furnished(here)
    archive, there = tmp_path / "backup.tar.gz", place(tmp_path / "there")
    await backup(here, archive, with_keys=False)
    await rotate_secrets_keys(here, Rotation.NEW)
    await rotate_secrets_keys(here, Rotation.DROP_NOW)
    there.data_folder.mkdir()
    there.key_file.write_text(here.key_file.read_text())
    there.key_file.chmod(0o600)

    with pytest.raises(KeysMissing, match=rf"Add the keys of that time to {there.key_file}"):
        await restore(there, archive)


async def test_a_move_says_that_everybody_has_to_log_in_again(
    here: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await furnished(here)
    signing = place(tmp_path / "signing", jwt={"secret": SIGNING})

    await migrate_store(here, signing)
    first = capsys.readouterr().out
    await migrate_store(signing, place(tmp_path / "same", jwt={"secret": "t" * 32, "previous": [SIGNING]}))

    assert "everybody has to log in again" in first
    assert "everybody has to log in again" not in capsys.readouterr().out
