"""The types of keys: strings, secrets and functions that return them. Checked by mypy, not executed."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial

from headrace import Client, Endpoint, Secret


def text() -> str:
    return "sk-…"


def secret() -> Secret:
    return Secret("sk-…")


async def text_later() -> str:
    return "sk-…"


async def secret_later() -> Secret:
    return Secret("sk-…")


def either(scope: str) -> str | Awaitable[str]:
    return scope if scope else text_later()


class Credential:
    def token(self) -> str:
        return "sk-…"

    async def __call__(self) -> str:
        return "sk-…"


Client(api_key="sk-…")
Client(api_key=Secret("sk-…"))
Client(api_key=None)
Client(api_key=text)
Client(api_key=secret)
Client(api_key=text_later)
Client(api_key=secret_later)
Client(api_key=partial(either, "scope"))
Client(api_key=Credential())
Client(api_key=Credential().token)
Client(api_key=lambda: "sk-…")
Endpoint("https://llm.example/v1", "sk-…")
Endpoint("https://llm.example/v1", text_later, key_header="api-key")
Endpoint("https://llm.example/v1", api_key=Credential().token)


def number() -> int:
    return 5


def of(scope: str) -> str:
    return scope


Client(api_key=5)  # type: ignore[arg-type]
Client(api_key=number)  # type: ignore[arg-type]
Client(api_key=of)  # type: ignore[arg-type]
Endpoint("https://llm.example/v1", number)  # type: ignore[arg-type]
Endpoint("https://llm.example/v1", 5)  # type: ignore[arg-type]
