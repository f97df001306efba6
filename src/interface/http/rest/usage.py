"""`/api/usage`: what the user has used."""

from datetime import UTC, date, datetime, time
from typing import Annotated

import msgspec
from litestar import Controller, get
from litestar.params import QueryParameter

from llm_backend.application.usage import ReportUsage
from llm_backend.domain.usage import NANO, UsageGroup, UsageSum
from llm_backend.interface.http.documentation import SIGNED_IN, failures
from llm_backend.interface.http.errors import InvalidParameter
from llm_backend.interface.http.requests import ApiRequest
from llm_backend.interface.http.rest.parameters import Asked

TAGS = ["Usage"]


class UsageLineOut(msgspec.Struct):
    """`group` is null for requests that belong to none, such as those without a key. `estimated_requests` are those
    whose tokens nobody counted. `cost` is in the currency of `llm.prices`, without what has no price there."""

    group: str | None
    requests: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    estimated_requests: int
    cost: float


class UsageOut(msgspec.Struct):
    group_by: str
    usage: list[UsageLineOut]


class UsageController(Controller):
    path = "/usage"
    security = SIGNED_IN
    tags = TAGS

    @get("/", responses=failures(401, 503, 507))
    async def report(
        self,
        report_usage: Asked[ReportUsage],
        request: ApiRequest,
        since: Annotated[str | None, QueryParameter(name="from")] = None,
        until: Annotated[str | None, QueryParameter(name="to")] = None,
        group_by: Annotated[UsageGroup, QueryParameter()] = UsageGroup.DAY,
    ) -> UsageOut:
        """Tokens and costs, from the beginning of one day (`from`) to before another (`to`), both in UTC: dates such as
        2026-03-01, or moments such as 2026-03-01T12:00:00Z."""
        sums = await report_usage(request.owner, group_by, since=_moment("from", since), until=_moment("to", until))
        return UsageOut(group_by.value, list(map(usage_line_out, sums)))


def usage_line_out(line: UsageSum) -> UsageLineOut:
    return UsageLineOut(
        group=line.group,
        requests=line.requests,
        prompt_tokens=line.prompt,
        completion_tokens=line.completion,
        total_tokens=line.prompt + line.completion,
        estimated_requests=line.estimated,
        cost=line.cost / NANO,
    )


def _moment(name: str, text: str | None) -> datetime | None:
    """Raises `InvalidParameter`."""
    if text is None:
        return None
    try:
        if len(text) == len("2026-03-01"):
            return datetime.combine(date.fromisoformat(text), time(), UTC)
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidParameter(f"The value of {name!r} in the query is not a date or a moment", param=name) from error
