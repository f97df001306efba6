"""Secrets sealed with AES-256-GCM."""

from collections.abc import Sequence
from hashlib import sha256
from secrets import token_bytes

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from llm_backend.application.ports.secret_box import SecretUnreadable
from llm_backend.domain.secrets import SealedSecret, Secret

KEY_BYTES = 32
NONCE_BYTES = 12


class AesGcmSecretBox:
    """A ring of keys: the first seals, all open. To rotate, put a new one in front and seal again what opens.

    Raises `ValueError` for no keys, or keys that have not 32 bytes.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"The encryption keys must have {KEY_BYTES} bytes each, and there must be one")
        self._ciphers = {_key_id(key): AESGCM(key) for key in keys}
        self._sealing = _key_id(keys[0])

    def seal(self, secret: Secret, *, bound_to: str) -> SealedSecret:
        nonce = token_bytes(NONCE_BYTES)
        ciphertext = self._ciphers[self._sealing].encrypt(nonce, _as_bytes(secret.reveal()), _as_bytes(bound_to))
        return SealedSecret(key_id=self._sealing, sealed=nonce + ciphertext)

    def open(self, sealed: SealedSecret, *, bound_to: str) -> Secret:
        nonce, ciphertext = sealed.sealed[:NONCE_BYTES], sealed.sealed[NONCE_BYTES:]
        try:
            text = self._ciphers[sealed.key_id].decrypt(nonce, ciphertext, _as_bytes(bound_to))
        except (KeyError, ValueError, InvalidTag) as error:  # ValueError: too short to be anything
            raise SecretUnreadable("A stored secret cannot be opened") from error
        return Secret(text.decode("utf-8", "surrogatepass"))


def _key_id(key: bytes) -> str:
    """Tells keys apart without telling anything about them."""
    return sha256(b"llm_backend key id" + key).hexdigest()[:16]


def _as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
