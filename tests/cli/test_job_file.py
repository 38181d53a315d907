"""`headrace run job.toml`: the options of a run in a file, and jobs with steps."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from headrace.cli.main import cli

URL = "http://127.0.0.1:9/v1"

PLAIN = """
input = "rows.csv"
out = "out.jsonl"
model = "m"
prompt = "Sort {name}"
"""

STEPS = """
input = "rows.csv"
out = "out.jsonl"
model = "m"

[[step]]
name = "category"
prompt = "Sort {name}"
choices = ["garden", "clothes"]

[[step]]
name = "text"
when = "category == 'garden' and price > 10"
prompt_file = "advert.txt"
model = "writer"
parameters = {temperature = 0.7}

[[step]]
name = "verdict"
when = "text != null"
prompt = "Judge {text}"
schema = "verdict.json"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files of the job; the working directory is the one above."""
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    (jobs / "rows.csv").write_text("id,name,price\n1,hose,12.50\n2,scarf,8\n3,rake,20\n")
    (jobs / "advert.txt").write_text("Advertise {name}\n")
    (jobs / "verdict.json").write_text(
        '{"type": "object", "properties": {"score": {"type": "integer"}}, "required": ["score"]}'
    )
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_BASE_URL", "HEADRACE_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    return jobs


def invoke(job: str, *arguments: str) -> tuple[int, str]:
    Path("jobs/job.toml").write_text(job)
    command = ["run", "jobs/job.toml", "--base-url", URL, *arguments]
    result = CliRunner().invoke(cli, command, prog_name="headrace")
    return result.exit_code, result.output


MISTAKES = [
    ("input = ", "not TOML: Invalid value (at end of document)"),
    (PLAIN.replace("out =", "output ="), "unknown key 'output'; did you mean 'out'?"),
    (PLAIN.replace("prompt", "promt"), "unknown key 'promt'; did you mean 'prompt'?"),
    (PLAIN.replace('out = "out.jsonl"', ""), 'out is missing; add out = "answers.jsonl", or use --out'),
    (
        PLAIN.replace('input = "rows.csv"', ""),
        'input is missing; name the file with the rows, like input = "rows.csv"',
    ),
    (PLAIN + "max_in_flight = 0", "max_in_flight must be an integer of at least 1, not 0"),
    (PLAIN + "max_in_flight = '5'", "max_in_flight must be an integer of at least 1, not '5'"),
    (PLAIN + "limit = true", "limit must be an integer of at least 1, not True"),
    (PLAIN + "deadline = 30", 'deadline must be a text with a unit, like "30s" or "2h", not 30'),
    (PLAIN + "deadline = 'soon'", "deadline: 'soon' is not a duration such as 800ms, 1.5s, 2m"),
    (PLAIN + "budget = 'much'", "budget: 'much': must be an amount in USD, like 5.00"),
    (PLAIN + "budget = []", "budget must be an amount in USD, like 5.00, not []"),
    (PLAIN + "samples = 0", "samples must be an integer of at least 1, not 0"),
    (PLAIN + "samples = 3\nvote = 1", "vote must be true or false, not 1"),
    ("samples = 3\n" + STEPS, "leave out --samples; a step has one answer for each row"),
    (PLAIN + "parameters = 5", "parameters must be a table, like {temperature = 0}, not 5"),
    (PLAIN + "on_missing = 'skip'", "on_missing must be 'refuse' or 'fail-row', not 'skip'"),
    (PLAIN + "priority = 0.5", 'priority must be an integer, or "@" and the name of a column, not 0.5'),
    (PLAIN + "choices = ['a', 'b,c']", "choices: 'b,c' has a comma; write it without"),
    (PLAIN + "choices = ['a', 5]", "choices must be a list of texts, not ['a', 5]"),
    (
        PLAIN + "prompt_file = 'advert.txt'",
        "prompt and prompt_file both set the prompt; leave out one of them",
    ),
    (PLAIN + "fresh = true", "fresh belongs on the command line: --fresh; remove it here"),
    (PLAIN + "step = 'x'", "step must be an array of tables; begin each step with [[step]]"),
    (PLAIN + "[step]\nname = 'x'", "step must be an array of tables; begin each step with [[step]]"),
    (PLAIN + "[[steps]]\nname = 'x'", "unknown key 'steps'; did you mean 'step'?"),
    (
        PLAIN + "[[step]]\nname = 'x'\nprompt = '{name}'",
        "prompt belongs to a step, because the job has steps; move it there",
    ),
    (STEPS.replace("choices", "choice"), "step 'category': unknown key 'choice'; did you mean 'choices'?"),
    (STEPS.replace('name = "text"', ""), 'step 2: name is missing; add one, like name = "category"'),
    (STEPS.replace('"Judge {text}"', "5"), "step 'verdict': prompt must be a text, not 5"),
    (
        STEPS.replace("price > 10", "price = 10"),
        "step 'text': when: \"category == 'garden' and price = 10\": at '= 10' (character 32): to compare, "
        "write ==",
    ),
    (
        STEPS.replace("category ==", "categori =="),
        "step 'text': jobs/rows.csv:2: no column 'categori' for the condition; did you mean 'category'?",
    ),
    (
        STEPS.replace("Judge {text}", "Judge"),
        "step 'verdict': prompt: names no column, so all rows would get",
    ),
    (
        STEPS.replace('name = "verdict"', 'name = "price"'),
        "step 'price': the input has a column 'price' already; name another one for the answers with output",
    ),
    (STEPS.replace('"verdict.json"', '"none.json"'), "step 'verdict': schema jobs/none.json: No such file"),
    (STEPS.replace('name = "text"', 'name = "a text"'), "step 'a text': name must be a word of letters"),
]


@pytest.mark.parametrize(("job", "message"), MISTAKES)
def test_a_mistake_is_one_line_with_the_file_and_the_step(folder: Path, job: str, message: str) -> None:
    before = sorted(folder.iterdir())
    code, output = invoke(job)
    (line,) = output.splitlines()
    assert code == 2
    assert line.startswith("headrace: jobs/job.toml: ")
    assert message in line
    assert set(folder.iterdir()) - set(before) == {folder / "job.toml"}, "nothing was written"


REFUSED_OPTIONS = [
    (
        ["--prompt", "{name}"],
        "jobs/job.toml: each step has its own requests; leave out --prompt, or give them to a step",
    ),
    (
        ["--choices", "a,b"],
        "jobs/job.toml: each step has its own requests; leave out --choices, or give them to a step",
    ),
    (["--dry-run", "--sample", "2"], "--sample: not for a job with steps; leave it out"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED_OPTIONS)
def test_options_that_do_not_fit_to_steps_are_refused(arguments: list[str], message: str) -> None:
    assert invoke(STEPS, *arguments) == (2, f"headrace: {message}\n")


def test_a_job_file_that_is_not_there_is_one_line() -> None:
    result = CliRunner().invoke(cli, ["run", "none.toml"], prog_name="headrace")
    assert (result.exit_code, result.output) == (2, "headrace: none.toml: No such file or directory\n")


def test_options_of_the_command_line_come_first(folder: Path) -> None:
    more = "parameters = {temperature = 0.5, stop = ['x']}\ntags = {team = 'a=b'}\nlimit = 1\npriority = 3"
    code, output = invoke(PLAIN + more, "--dry-run")
    assert (code, output.splitlines()[:4]) == (
        0,
        [
            "--- 1",
            "user: Sort hose",
            '({"model":"m","temperature":0.5,"stop":["x"]})',
            f"1 request would be sent to {URL}; nothing was.",
        ],
    )
    arguments = ["--limit", "2", "--prompt", "{id}?", "--param", "temperature=1", "--model", "other"]
    _, output = invoke(PLAIN + more, "--dry-run", *arguments)
    assert [line for line in output.splitlines() if line.startswith(("user", "(", "2"))] == [
        "user: 1?",
        '({"model":"other","temperature":1})',
        "user: 2?",
        '({"model":"other","temperature":1})',
        f"2 requests would be sent to {URL}; nothing was.",
    ]


def test_a_dry_run_shows_each_step_and_says_what_it_cannot_know() -> None:
    code, output = invoke(STEPS, "--dry-run")
    lines = output.splitlines()
    assert code == 0
    assert lines[:11] == [
        "--- 1",
        "step category:",
        "system: Answer with exactly one of: garden | clothes",
        "Give no explanation.",
        "user: Sort hose",
        '({"model":"m"})',
        "step text, if category == 'garden' and price > 10:",
        "user: Advertise hose",
        '({"model":"writer","temperature":0.7})',
        "step verdict, if text != null:",
        "user: Judge <text>",
    ]
    assert f"3 to 9 requests for 3 rows would be sent to {URL}; nothing was." in lines
    assert "  steps      category: 3" in lines
    assert "             text: at most 3, depending on earlier answers" in lines
    known = STEPS.replace("category == 'garden' and price > 10", "price > 10")
    _, output = invoke(known, "--dry-run")
    assert "             text: 2" in output.splitlines()
    assert "step text, if price > 10: skipped" in output.splitlines()
