"""`/api/users`: accounts."""

import msgspec
from litestar import Controller, post

from llm_backend.application.users import ChangePassword, LogIn, LogOut, RegisterUser
from llm_backend.interface.http.auth import PUBLIC
from llm_backend.interface.http.documentation import SIGNED_IN, RepeatableOperation, failures
from llm_backend.interface.http.idempotency import key_text
from llm_backend.interface.http.requests import ApiRequest
from llm_backend.interface.http.rest.parameters import Asked, Body, MessageOut

TAGS = ["Users"]


class CredentialsIn(msgspec.Struct):
    username: str
    password: str


class PasswordsIn(msgspec.Struct):
    old_password: str
    new_password: str


class TokenOut(msgspec.Struct):
    token: str


class UsersController(Controller):
    path = "/users"
    tags = TAGS

    @post(
        "/register",
        status_code=201,
        response_description="The account is there",
        opt=PUBLIC,
        operation_class=RepeatableOperation,
        responses=failures(400, 409, 413, 429, 503, 507),
    )
    async def register(
        self, data: Body[CredentialsIn], register_user: Asked[RegisterUser], request: ApiRequest
    ) -> MessageOut:
        """Create an account."""
        key = key_text(request.scope)
        await register_user(data.username, data.password, address=request.address, idempotency_key=key)
        return MessageOut("User registered successfully")

    @post("/login", status_code=200, opt=PUBLIC, responses=failures(400, 401, 413, 429, 503, 507))
    async def log_in(self, data: Body[CredentialsIn], log_in: Asked[LogIn], request: ApiRequest) -> TokenOut:
        """Exchange a name and a password for a token."""
        return TokenOut(await log_in(data.username, data.password, address=request.address))

    @post("/logout", status_code=200, security=SIGNED_IN, responses=failures(401, 503, 507))
    async def log_out(self, log_out: Asked[LogOut], request: ApiRequest) -> MessageOut:
        """Kill the token that this request carries, for good and everywhere."""
        await log_out(request.caller)
        return MessageOut("Logged out successfully")

    @post("/password", status_code=200, security=SIGNED_IN, responses=failures(400, 401, 413, 429, 503, 507))
    async def change_password(
        self, data: Body[PasswordsIn], change_password: Asked[ChangePassword], request: ApiRequest
    ) -> MessageOut:
        """Set a new password. Every token of the account dies with the old one."""
        await change_password(request.owner, data.old_password, data.new_password)
        return MessageOut("Password changed successfully")
