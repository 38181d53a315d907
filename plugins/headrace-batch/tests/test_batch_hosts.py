"""Endpoints that have no batches, or batches of another form, are named before anything is paid."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio.testing

import headrace
from batch_runs import rows, run
from provider_forms import MistralForm
from scripted_batches import ScriptedBatches
from scripted_forms import OpenAIForm

pytestmark = [pytest.mark.trio, pytest.mark.usefixtures("without_threads")]


@pytest.mark.parametrize("status", [404, 405])
async def test_an_endpoint_that_takes_no_files_is_named(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, status: int
) -> None:
    class WithoutFiles(ScriptedBatches):
        def _upload(self, *arguments: object) -> headrace.Reply:
            return headrace.Reply(status, headrace.Headers([]), b"{}")

    with pytest.raises(headrace.HeadraceError, match=r"has no batches \(POST /files.*; leave out engine="):
        await run(WithoutFiles(), tmp_path / "out.jsonl", rows(2))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://api.anthropic.com/v1", "cannot make batches at api.anthropic.com.*; leave out engine="),
        ("https://generativelanguage.googleapis.com/v1beta/openai", "cannot make batches at .*; leave out"),
        (
            "https://shop.openai.azure.com/openai/deployments/m",
            r"use base_url='https://shop.openai.azure.com/o",
        ),
    ],
)
async def test_endpoints_with_batches_of_another_form_are_named(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, url: str, message: str
) -> None:
    class OtherForm(OpenAIForm):
        endpoint = headrace.Endpoint(url, "key")

    endpoint = ScriptedBatches(form=OtherForm())
    with pytest.raises(headrace.HeadraceError, match=message):
        await run(endpoint, tmp_path / "out.jsonl", rows(2))
    assert endpoint.requests == 0


async def test_only_the_endpoint_of_the_rows_needs_batches(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    class OneOfSeveral(ScriptedBatches):
        async def send(self, call: headrace.Call) -> headrace.Reply:
            if call.endpoint.base_url == "https://plain.test/v1":
                return headrace.Reply(404, headrace.Headers([]), b"{}")
            return await super().send(call)

    endpoint = OneOfSeveral(form=MistralForm())
    endpoints = [
        headrace.Endpoint("https://api.anthropic.com/v1", "key", models=["claude"]),
        headrace.Endpoint("https://plain.test/v1", models=["plain"]),
        endpoint.form.endpoint,
    ]

    async def run_with(model: str) -> headrace.bulk.Result:
        client = headrace.Client(endpoints=endpoints, model=model, policies=[], transport=endpoint)
        async with client:
            return await headrace.run(
                client, rows(3), out=tmp_path / model, prompt="{name}", id_column="id", engine="batch"
            )

    assert (await run_with("m")).succeeded == 3
    with pytest.raises(headrace.HeadraceError, match=r"cannot make batches at api\.anthropic\.com"):
        await run_with("claude")
    with pytest.raises(headrace.HeadraceError, match=r"plain\.test/v1 has no batches \(POST /files"):
        await run_with("plain")
