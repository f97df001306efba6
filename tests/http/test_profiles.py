"""The suite runs on what it is said to run on."""

import pytest

from tests.http.clients import Client
from tests.servers import RedisServer


@pytest.mark.parametrize("profile", ["scaled"], indirect=True)
async def test_what_replicas_tell_each_other_about_answers_goes_through_redis(
    alice: Client, empty_redis: RedisServer
) -> None:
    conversation = await alice.new_conversation()

    reply = await alice.post(f"/api/chat/{conversation}", {"message": "Hello"})

    assert reply.status_code == 200
    assert empty_redis.say("KEYS llm_backend:answer:*").startswith(b"*1\r\n")
    assert empty_redis.say("PUBSUB NUMSUB llm_backend:stop").endswith(b":1\r\n")
