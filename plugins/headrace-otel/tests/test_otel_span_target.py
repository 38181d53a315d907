"""The target of a call: what is known before it is made."""

from __future__ import annotations

import pytest

from headrace import Endpoint, Secret
from headrace_otel.span_target import provider_of, span_target


@pytest.mark.parametrize(
    ("method", "path", "operation", "name"),
    [
        ("POST", "/chat/completions", "chat", "chat m"),
        ("POST", "/v1/chat/completions?x=1", "chat", "chat m"),
        ("POST", "/openai/deployments/d/chat/completions", "chat", "chat m"),
        ("POST", "/responses", "chat", "chat m"),
        ("POST", "/v1/messages", "chat", "chat m"),
        ("POST", "/completions", "text_completion", "text_completion m"),
        ("POST", "/fim/completions", "text_completion", "text_completion m"),
        ("POST", "/embeddings", "embeddings", "embeddings m"),
        ("POST", "/v1beta/models/g:generateContent", "generate_content", "generate_content m"),
        ("GET", "/chat/completions", "chat", "GET /chat"),
        ("GET", "/models", "models", "GET /models"),
        ("DELETE", "/v1/files/file-1234567", "files", "DELETE /files"),
        ("POST", "/responses/resp_123/cancel", "responses", "POST /responses"),
        ("GET", "/", "/", "GET /"),
    ],
)
def test_operation_and_name_have_few_values(method: str, path: str, operation: str, name: str) -> None:
    target = span_target(Endpoint("http://localhost:8000/v1"), method, path, "m")
    assert (target.operation, target.span_name) == (operation, name)
    assert target.attributes["gen_ai.operation.name"] == operation


@pytest.mark.parametrize(
    ("url", "address", "port"),
    [
        ("http://localhost:8000/v1", "localhost", 8000),
        ("https://api.openai.com/v1", "api.openai.com", 443),
        ("http://10.0.0.7", "10.0.0.7", 80),
        ("http://[::1]:8000/v1", "::1", 8000),
    ],
)
def test_the_target_has_the_server_s_port(url: str, address: str, port: int) -> None:
    named = span_target(Endpoint(url), "POST", "/embeddings", None).attributes
    assert (named["server.address"], named["server.port"]) == (address, port)
    assert "gen_ai.request.model" not in named


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("api.openai.com", "openai"),
        ("mine.openai.azure.com", "azure.ai.openai"),
        ("mine.services.ai.azure.com", "azure.ai.inference"),
        ("api.anthropic.com", "anthropic"),
        ("api.mistral.ai", "mistral_ai"),
        ("api.deepseek.com", "deepseek"),
        ("api.groq.com", "groq"),
        ("api.x.ai", "x_ai"),
        ("phoenix.ai", "openai"),
        ("api.perplexity.ai", "perplexity"),
        ("api.cohere.com", "cohere"),
        ("api.moonshot.ai", "moonshot_ai"),
        ("generativelanguage.googleapis.com", "gcp.gemini"),
        ("europe-west1-aiplatform.googleapis.com", "gcp.vertex_ai"),
        ("bedrock-runtime.eu-central-1.amazonaws.com", "aws.bedrock"),
        ("eu-de.ml.cloud.ibm.com", "ibm.watsonx.ai"),
        ("api.groq.com.example.org", "openai"),
        ("localhost", "openai"),
    ],
)
def test_the_host_determines_the_provider(host: str, provider: str) -> None:
    assert provider_of(host) == provider


def test_the_target_has_no_key() -> None:
    endpoint = Endpoint("http://localhost/v1", Secret("sk-canary"))
    target = span_target(endpoint, "POST", "/embeddings", "my-sk-canary-model")
    assert target.span_name == "embeddings my-***-model"
    assert target.attributes["gen_ai.request.model"] == "my-***-model"
