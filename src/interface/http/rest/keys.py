"""`/api/keys`: keys for programs, which are good under `/v1`."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from litestar import Controller, get, post

from llm_backend.application.api_keys import CreateApiKey, DeleteApiKey, ListApiKeys
from llm_backend.domain.api_keys import ApiKey, Scope
from llm_backend.domain.ids import ApiKeyId
from llm_backend.interface.http.documentation import SIGNED_IN, RepeatableOperation, failures
from llm_backend.interface.http.idempotency import idempotency
from llm_backend.interface.http.requests import ApiRequest, checked_text
from llm_backend.interface.http.rest.parameters import Asked, Body, MessageOut

UnixTime = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799)]  # up to the year 9999, where datetime ends


TAGS = ["API keys"]


class KeyIn(msgspec.Struct):
    """Without `scopes` a key is good for everything, without `expires_at` for ever. An empty list is refused, as it
    looks like the opposite."""

    name: str
    scopes: Annotated[list[Scope], msgspec.Meta(min_length=1)] | None = None
    expires_at: UnixTime | None = None


class KeyAlone(msgspec.Struct):
    key_id: str


class KeyOut(msgspec.Struct):
    """Times are Unix times. `prefix` is how the key begins; no more of it is known."""

    key_id: str
    name: str
    prefix: str
    scopes: list[Scope]
    created_time: int
    expires_at: int | None
    last_used_at: int | None


class NewKeyOut(KeyOut, kw_only=True):
    """`key` is shown in the first reply and never again: null, when the request was repeated."""

    key: str | None


class KeysController(Controller):
    path = "/keys"
    security = SIGNED_IN
    tags = TAGS

    @post(
        "/",
        status_code=201,
        response_description="The key is good from now on. This reply is the only one that shows it",
        operation_class=RepeatableOperation,
        responses=failures(400, 401, 409, 413, 503, 507),
    )
    async def create(self, data: Body[KeyIn], create_api_key: Asked[CreateApiKey], request: ApiRequest) -> NewKeyOut:
        """Make a key for a program."""
        made = await create_api_key(
            request.caller,
            data.name,
            scopes=frozenset(data.scopes or ()),
            expires_at=None if data.expires_at is None else datetime.fromtimestamp(data.expires_at, UTC),
            idempotency=idempotency(request.scope, data),
        )
        known = msgspec.structs.asdict(key_out(made.key))
        return NewKeyOut(**known, key=made.secret.reveal() if made.secret else None)

    @get("/", responses=failures(401, 503))
    async def list_all(self, list_api_keys: Asked[ListApiKeys], request: ApiRequest) -> list[KeyOut]:
        """The keys of the user, newest first."""
        return [key_out(key) for key in await list_api_keys(request.owner)]

    @post("/delete", status_code=200, responses=failures(400, 401, 404, 413, 503, 507))
    async def delete(
        self, data: Body[KeyAlone], delete_api_key: Asked[DeleteApiKey], request: ApiRequest
    ) -> MessageOut:
        """Kill a key, for good and everywhere."""
        await delete_api_key(request.owner, ApiKeyId(checked_text(data.key_id)))
        return MessageOut("API key deleted successfully")


def key_out(key: ApiKey) -> KeyOut:
    return KeyOut(
        key_id=key.id,
        name=key.name,
        prefix=key.prefix,
        scopes=sorted(key.scopes),
        created_time=int(key.created_at.timestamp()),
        expires_at=_unix(key.expires_at),
        last_used_at=_unix(key.last_used_at),
    )


def _unix(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())
