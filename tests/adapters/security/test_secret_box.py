from collections.abc import Callable
from pathlib import Path
from secrets import token_bytes

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from llm_backend.application.ports.secret_box import RotatableSecretBox, SecretUnreadable
from llm_backend.domain.secrets import SealedSecret, Secret
from llm_backend.infrastructure.security.key_ring import FileKeyRing, FixedKeyRing, key_id
from llm_backend.infrastructure.security.secret_box import WRAPPED_BYTES, AesGcmSecretBox
from llm_backend.testing.contracts.secret_box import RotatableSecretBoxContract

OLD, NEW = b"o" * 32, b"n" * 32
SECRET = Secret("sk-0123456789")


def a_box(*keys: bytes) -> AesGcmSecretBox:
    return AesGcmSecretBox(FixedKeyRing(keys, 32))


def sealed_without_a_data_key(key: bytes, secret: Secret, bound_to: str) -> SealedSecret:
    """As earlier versions did."""
    nonce = token_bytes(12)
    text = AESGCM(key).encrypt(nonce, secret.reveal().encode(), bound_to.encode())
    return SealedSecret(key_id=key_id(key), sealed=nonce + text)


class TestAesGcmSecretBox(RotatableSecretBoxContract):
    @pytest.fixture
    def box(self, tmp_path: Path) -> RotatableSecretBox:
        return AesGcmSecretBox(FileKeyRing(tmp_path / "keys", 32))

    @pytest.fixture
    def rotate(self, tmp_path: Path) -> Callable[[], None]:
        def rotate() -> None:
            FileKeyRing(tmp_path / "keys", 32).add()

        return rotate


def test_without_the_old_key_old_secrets_are_gone() -> None:
    sealed = a_box(OLD).seal(SECRET, bound_to="x")

    with pytest.raises(SecretUnreadable):
        a_box(NEW).open(sealed, bound_to="x")
    with pytest.raises(SecretUnreadable):
        a_box(NEW).seal_anew(sealed, bound_to="x")


def test_what_one_replica_seals_with_a_new_key_the_other_opens_at_once(tmp_path: Path) -> None:
    one, other = (AesGcmSecretBox(FileKeyRing(tmp_path / "keys", 32)) for _ in range(2))
    FileKeyRing(tmp_path / "keys", 32).add()

    sealed = one.seal(SECRET, bound_to="x")

    assert other.open(sealed, bound_to="x") == SECRET


def test_moving_a_secret_to_a_new_key_leaves_what_is_sealed_with_the_data_key() -> None:
    before = a_box(OLD).seal(SECRET, bound_to="x")

    after = a_box(NEW, OLD).seal_anew(before, bound_to="x")

    assert after.sealed[WRAPPED_BYTES:] == before.sealed[WRAPPED_BYTES:]
    assert after.sealed[:WRAPPED_BYTES] != before.sealed[:WRAPPED_BYTES]
    assert a_box(NEW).open(after, bound_to="x") == SECRET


@pytest.mark.parametrize("text", ["", "k", "sk-0123456789", "x" * 512])
def test_what_has_no_data_key_opens_and_gets_one_when_it_is_moved(text: str) -> None:
    before = sealed_without_a_data_key(OLD, Secret(text), "x")
    box = a_box(NEW, OLD)

    after = box.seal_anew(before, bound_to="x")

    assert box.open(before, bound_to="x") == box.open(after, bound_to="x") == Secret(text)
    assert len(after.sealed) == len(before.sealed) + WRAPPED_BYTES


def test_a_sealed_data_key_does_not_pass_for_a_secret() -> None:
    box = a_box(OLD)
    sealed = box.seal(SECRET, bound_to="x")

    with pytest.raises(SecretUnreadable):
        box.open(SealedSecret(key_id=sealed.key_id, sealed=sealed.sealed[:WRAPPED_BYTES]), bound_to="x")
