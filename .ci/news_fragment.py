"""Fail when sources changed since the base branch, and no news fragment came with them.

`python .ci/news_fragment.py [BASE]`, where BASE is a branch or commit. The default is origin/main, or main
where there is no remote. Commits, the index, the working tree and untracked files are compared with it.
CONTRIBUTING.md says how to write a fragment.
"""

from __future__ import annotations

import re
import subprocess
import sys

SOURCES = re.compile(r"(src|plugins/[^/]+/src)/")
KINDS = ("added", "changed", "deprecated", "removed", "fixed", "internal")
FRAGMENT = re.compile(rf"docs/changes/(\+[\w-]+|\d+)\.({'|'.join(KINDS)})")
NAMES = f"docs/changes/+WORDS.KIND or docs/changes/ISSUE.KIND; KIND is one of {', '.join(KINDS)}"


def git(*arguments: str) -> str:
    """What git prints for the arguments; git's own message and exit code where it fails."""
    done = subprocess.run(["git", *arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout


def default_base() -> str | None:
    """The main branch of the remote, or the local one; None where there is neither, or no repository."""
    for branch in ("origin/main", "main"):
        known = subprocess.run(["git", "rev-parse", "--verify", "--quiet", branch], capture_output=True)
        if known.returncode == 0:
            return branch
    return None


def changes(base: str) -> tuple[list[str], list[str]]:
    """The paths changed since the branch left ``base``, and those of them that are new."""
    fork = git("merge-base", base, "HEAD").strip()
    new = git("ls-files", "-z", "--others", "--exclude-standard").split("\0")
    changed: list[str] = []
    fields = iter(git("diff", "-z", "--no-renames", "--name-status", fork).split("\0"))
    for status, path in zip(fields, fields, strict=False):
        (new if status == "A" else changed).append(path)
    return [path for path in changed + new if path], new


def main() -> int:
    """Compare, and return the exit code."""
    base = sys.argv[1] if len(sys.argv) > 1 else default_base()
    if base is None:
        print("not checked: there is no branch main to compare with")
        return 0
    changed, new = changes(base)
    sources = [path for path in changed if SOURCES.match(path)]
    fragments = [path for path in new if FRAGMENT.fullmatch(path)]
    misnamed = [path for path in new if path.startswith("docs/changes/") and path not in fragments]
    if misnamed:
        print(f"{misnamed[0]}: must be named {NAMES}", file=sys.stderr)
        return 1
    published = [path for path in changed if FRAGMENT.fullmatch(path) and path not in new]
    if not sources or fragments or (published and "CHANGELOG.md" in changed):
        return 0
    print(
        f"{len(sources)} source files changed since {base}, {sources[0]} for one, without a news fragment: "
        f"add {NAMES}",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
