"""Completion in real shells."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
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


def in_bash(home: Path, line: str) -> set[str]:
    """The completions of bash at the end of a line; FILES if it completes file names."""
    script = f"""
        eval "$(headrace completion bash)"
        compopt() {{ [[ $2 == default ]] && COMPREPLY=(FILES); }}
        complete -p headrace | grep -q -- "-F _headrace_completion headrace" || exit 9
        read -ra COMP_WORDS <<< '{line.rstrip()}'
        {"COMP_WORDS+=('')" if line.endswith(" ") else ""}
        COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        _headrace_completion headrace
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    return set(shell(home, "bash", "--norc", "-c", script).split())


def in_fish(home: Path, line: str) -> set[str]:
    script = f"headrace completion fish | source; complete --do-complete '{line}'"
    return {found.split("\t")[0] for found in shell(home, "fish", "--no-config", "-c", script).splitlines()}


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
def test_commands_including_those_of_plugins_are_completed(home: Path, complete: object) -> None:
    assert callable(complete)
    assert complete(home, "headrace ") >= {*COMMANDS, "greet"}
    assert complete(home, "headrace re") == {"report"}
    options = {"--prompt", "--prompt-file", "--param", "--priority", "--processes"}
    assert complete(home, "headrace run --p") == options
    assert complete(home, "headrace greet --l") == {"--loudly"}
    assert complete(home, "headrace completion ") == {"bash", "zsh", "fish"}
    assert complete(home, "headrace nonsense --l") == set()


def test_bash_completes_file_names(home: Path) -> None:
    for line in ("run ", "report ", "run x.csv --out ", "report a.jsonl --out "):
        assert in_bash(home, f"headrace {line}") == {"FILES"}
    assert in_bash(home, "headrace run x.csv --model ") == set()


def test_fish_completes_file_names(home: Path) -> None:
    assert "answers.jsonl" in in_fish(home, "headrace report ans")
    assert "annual report.csv" in in_fish(home, "headrace run an")


def test_zsh_completes_commands_options_and_file_names(home: Path) -> None:
    assert in_zsh(home, "headrace rep") == {"headrace", "report"}
    assert in_zsh(home, "headrace gre") == {"headrace", "greet"}
    assert in_zsh(home, "headrace run --max-i") == {"headrace", "run", "--max-in-flight"}
    assert in_zsh(home, "headrace report ans") == {"headrace", "report", "answers.jsonl"}


def test_a_broken_plugin_does_not_break_completion(home: Path) -> None:
    (home / "site" / "headrace_greet.py").write_text("raise RuntimeError('broken')\n", encoding="utf-8")
    assert in_bash(home, "headrace ") >= COMMANDS


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
