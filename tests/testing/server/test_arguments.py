"""The command line of the child process round-trips a behaviour."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.testing.server import Behaviour, Certificate
from headrace.testing.server.arguments import API_KEY_VARIABLE, format_arguments, parse_arguments
from headrace.testing.server.behaviour import FAULT_KINDS

_seconds = st.floats(min_value=0, max_value=1e6)
_shares = st.floats(min_value=0, max_value=1)
_counts = st.integers(min_value=1, max_value=10**12)

behaviours = st.builds(
    Behaviour,
    latency=_seconds,
    jitter=_seconds,
    rate_limit=st.none() | st.floats(min_value=1e-6, max_value=1e9),
    errors=_shares,
    faults=st.lists(st.sampled_from(FAULT_KINDS), min_size=1),
    stall=_seconds,
    seed=st.integers(),
    api_key=st.none() | st.text(min_size=1),
    batch_time=_seconds,
    batch_failures=_shares,
    batch_expire=_shares,
    batch_max_requests=_counts,
    batch_max_bytes=_counts,
    batch_max_tokens=st.none() | _counts,
    batch_listing_delay=_seconds,
)


@given(behaviours)
def test_behaviour_round_trips_through_the_command_line(behaviour: Behaviour) -> None:
    environment = {API_KEY_VARIABLE: behaviour.api_key} if behaviour.api_key is not None else {}
    assert parse_arguments(format_arguments(behaviour), environment).behaviour == behaviour


@pytest.mark.parametrize("certificate", [Certificate("chain.pem"), Certificate("chain.pem", "key.pem"), None])
def test_certificate_round_trips_through_the_command_line(certificate: Certificate | None) -> None:
    assert parse_arguments(format_arguments(Behaviour(), certificate), {}).certificate == certificate


def test_the_key_is_not_on_the_command_line() -> None:
    assert "sk-secret" not in " ".join(format_arguments(Behaviour(api_key="sk-secret")))


def test_values_may_have_units() -> None:
    arguments = parse_arguments(["--latency=800ms", "--errors", "5%", "--rate-limit", "600/min"], {})
    assert arguments.behaviour == Behaviour(latency=0.8, errors=0.05, rate_limit=10.0)
    assert (arguments.host, arguments.port) == ("127.0.0.1", 8000)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--latency=soon", "'soon' is not a duration"),
        ("--faults=earthquake", "unknown fault 'earthquake'"),
        ("--errors=200%", "between 0 and 1"),
        ("--batch-failures=200%", "between 0 and 1"),
        ("--batch-max-requests=0", "'batch_max_requests' must be >= 1"),
        ("--key=key.pem", "--key needs --certificate"),
    ],
)
def test_invalid_option_exits_with_a_message(
    argument: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse_arguments([argument], {})
    assert message in capsys.readouterr().err
