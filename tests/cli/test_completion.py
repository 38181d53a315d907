"""Completion in real shells."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

LIMIT = 60
PLUGIN = '''
import click
from headrace import hookimpl

@hookimpl
def headrace_commands(cli):
    @cli.command()
    @click.option("--loudly", is_flag=True)
    def greet(loudly):
        """Say hello."""
'''
MODULES = """
import atexit, sys
atexit.register(lambda: print(*sorted(sys.modules), sep="\\n"))
from headrace_command import main
main()
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with the command, a plugin, and some files to complete."""
    scripts = tmp_path / "bin"
    scripts.mkdir()
    command = scripts / "headrace"
    command.write_text(f"#!{sys.executable}\nfrom headrace_command import main\nmain()\n", encoding="utf-8")
    command.chmod(0o755)
    info = tmp_path / "site" / "headrace_greet-1.0.dist-info"
    info.mkdir(parents=True)
    (info.parent / "headrace_greet.py").write_text(PLUGIN, encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: headrace-greet\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[headrace]\ngreet = headrace_greet\n")
    work = tmp_path / "work"
    work.mkdir()
    for name in ("answers.jsonl", "annual report.csv"):
        (work / name).touch()
    return tmp_path


def environment(home: Path, **more: str) -> dict[str, str]:
    return {
        "PATH": os.pathsep.join([str(home / "bin"), os.environ["PATH"]]),
        "PYTHONPATH": str(home / "site"),
        "HOME": str(home),
        "TERM": "dumb",
        "LC_ALL": "C.UTF-8",
        **more,
    }


def shell(home: Path, name: str, *arguments: str) -> str:
    """Run a shell and return its output; it must print no error."""
    program = shutil.which(name)
    if program is None:
        assert not os.environ.get("CI"), f"{name} is not installed"
        pytest.skip(f"{name} is not installed")
    done = subprocess.run(
        [program, *arguments],
        cwd=home / "work",
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def in_bash(home: Path, *lines: str) -> list[set[str]]:
    """The completions of bash at the end of each line; FILES if it completes file names."""
    script = """
        eval "$(headrace completion bash)"
        compopt() { [[ $2 == default ]] && COMPREPLY=(FILES); }
        complete -p headrace | grep -q -- "-F _headrace_completion headrace" || exit 9
    """
    for line in lines:
        script += f"""
            read -ra COMP_WORDS <<< '{line.rstrip()}'
            {"COMP_WORDS+=('')" if line.endswith(" ") else ""}
            COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
            COMPREPLY=()
            _headrace_completion headrace
            echo ${{COMPREPLY[@]}}
        """
    found = shell(home, "bash", "--norc", "-c", script).splitlines()
    assert len(found) == len(lines)
    return [set(line.split()) for line in found]


def in_fish(home: Path, *lines: str) -> list[set[str]]:
    """The completions of fish at the end of each line."""
    completed = "".join(f"complete --do-complete '{line}'; echo =; " for line in lines)
    script = f"headrace completion fish | source; {completed}"
    found = shell(home, "fish", "--no-config", "-c", script).split("=\n")[:-1]
    assert len(found) == len(lines)
    return [{each.split("\t")[0] for each in part.splitlines()} for part in found]


def in_zsh(home: Path, line: str) -> set[str]:
    """The line of zsh after Tab is pressed, in a terminal, because zsh completes only there."""
    script = f"""
        zmodload zsh/zpty
        zpty -b inner zsh -f -i
        zpty -w inner 'PS1=; autoload -U compinit; compinit -u -d $HOME/.zcompdump'
        zpty -w inner 'eval "$(headrace completion zsh)"'
        zpty -w inner 'finish() {{ print -r -- "<$BUFFER>"; exit }}; zle -N finish; bindkey "^Y" finish'
        zpty -w inner "print REA''DY"
        zpty -r inner seen $'*READY\\r\\n*'
        zpty -n -w inner '{line}'$'\\t\\x19'
        zpty -r inner seen '*<*>*'
        print -r -- "$seen"
    """
    seen = shell(home, "zsh", "-f", "-c", script)
    return set(seen[seen.rindex("<") + 1 : seen.rindex(">")].split())


COMMANDS = {"run", "report", "chat", "demo", "serve", "bench", "plugins", "completion"}


@pytest.mark.parametrize("complete", [in_bash, in_fish])
def test_commands_including_those_of_plugins_are_completed(
    home: Path, complete: Callable[..., list[set[str]]]
) -> None:
    commands, *others = complete(
        home,
        "headrace ",
        "headrace re",
        "headrace run --p",
        "headrace greet --l",
        "headrace completion ",
        "headrace nonsense --l",
    )
    assert commands >= {*COMMANDS, "greet"}
    options = {"--prompt", "--prompt-file", "--param", "--priority", "--processes"}
    assert others == [{"report"}, options, {"--loudly"}, {"bash", "zsh", "fish"}, set()]


def test_bash_completes_file_names(home: Path) -> None:
    lines = ("run ", "report ", "run x.csv --out ", "report a.jsonl --out ", "run x.csv --model ")
    found = in_bash(home, *(f"headrace {line}" for line in lines))
    assert found == [*([{"FILES"}] * 4), set()]


def test_fish_completes_file_names(home: Path) -> None:
    answers, report = in_fish(home, "headrace report ans", "headrace run an")
    assert "answers.jsonl" in answers
    assert "annual report.csv" in report


def test_zsh_completes_commands_options_and_file_names(home: Path) -> None:
    assert in_zsh(home, "headrace rep") == {"headrace", "report"}
    assert in_zsh(home, "headrace gre") == {"headrace", "greet"}
    assert in_zsh(home, "headrace run --max-i") == {"headrace", "run", "--max-in-flight"}
    assert in_zsh(home, "headrace report ans") == {"headrace", "report", "answers.jsonl"}


def test_a_broken_plugin_does_not_break_completion(home: Path) -> None:
    (home / "site" / "headrace_greet.py").write_text("raise RuntimeError('broken')\n", encoding="utf-8")
    (commands,) = in_bash(home, "headrace ")
    assert commands >= COMMANDS


def test_completion_imports_no_event_loop_and_no_client(home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MODULES],
        env=environment(home, COMP_WORDS="headrace ", COMP_CWORD="1", _HEADRACE_COMPLETE="bash_complete"),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=True,
    )
    modules = set(done.stdout.split())
    assert "plain,greet" in modules
    assert "headrace_greet" in modules
    assert modules.isdisjoint({"trio", "httpx", "rich", "uvicorn", "uvloop", "jinja2", "httptools"})
