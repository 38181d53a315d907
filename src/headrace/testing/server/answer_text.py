"""The text of the simulated model's answers.

The simulated model understands nothing. If the prompt lists choices (`one of: A | B | C`), it takes the one
with the most letters in common with the last user message. A list of German cue words for the eight shop
categories of the demo helps. Otherwise it puts ready-made sentences together. The answers look like those of
a model, so that code can be tested with them. They imply nothing about a real model.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from headrace.testing.server.seeded_random import fingerprint
from headrace.testing.server.vocabulary import CUES

_CHOICES = re.compile(r"one of:[ \t]*(\S.*)", re.IGNORECASE)
_NO_LETTERS = re.compile(r"[\W_]+")

_OPENINGS = (
    "You wrote “{beginning}”.",
    "This is about “{beginning}”.",
    "To begin with “{beginning}”:",
    "“{beginning}” is a fair thing to ask.",
)
_SENTENCES = (
    "There are several sides to it, and the first one usually settles the others.",
    "A short answer is possible here, although it leaves out the exceptions.",
    "It helps to look at one example before drawing a general conclusion.",
    "Most of it follows from what is already given.",
    "The details depend on the context, which is only partly known.",
    "In practice, the simple case is also the common one.",
    "Two points deserve attention: the order of the steps, and who carries them out.",
    "Nothing in the text contradicts that.",
    "One could also put it the other way round without losing much.",
)
_CLOSINGS = (
    "This text was put together by a simulated model.",
    "A simulated model wrote this; it has understood nothing.",
    "So says a simulated model.",
)


def find_choices(texts: Iterable[str]) -> list[str]:
    """The choices in the first line like `one of: A | B | C` or `one of: A, B, C`, or an empty list."""
    for text in texts:
        if found := _CHOICES.search(text):
            return list(_split_choices(found[1]))
    return []


def best_choice(choices: Sequence[str], text: str, random_bytes: bytes) -> str:
    """The choice with the most letters in common with the text; ``random_bytes`` decide between equals.

    Args:
        choices: At least one choice.
        text: The last user message; a line in it that lists the choices is ignored.
        random_bytes: The fingerprint that breaks ties.
    """
    folded = _folded(_CHOICES.sub("", text))
    letters = _trigrams(folded)

    def likeness(choice: str) -> float:
        own = _choice_trigrams(choice)
        overlap = len(own & letters) / len(own) if own else 0.0
        return overlap + len([cue for cue in CUES.get(choice.casefold(), ()) if cue in folded])

    likenesses = list(map(likeness, choices))
    best = max(likenesses)
    equals = [choice for choice, value in zip(choices, likenesses, strict=True) if value == best]
    return min(equals, key=lambda choice: fingerprint(0, random_bytes, choice.encode()))


def filler_text(prompt: str, random_bytes: bytes) -> str:
    """A few sentences that mention how the prompt begins."""
    beginning = " ".join(prompt.split()[:8])[:80] or "nothing"
    opening = _OPENINGS[random_bytes[0] % len(_OPENINGS)].format(beginning=beginning)
    # The step 2 has no common divisor with the 9 sentences, so no sentence is used twice.
    positions = range(random_bytes[1], random_bytes[1] + 2 * (2 + random_bytes[2] % 3), 2)
    middle = [_SENTENCES[position % len(_SENTENCES)] for position in positions]
    return " ".join([opening, *middle, _CLOSINGS[random_bytes[3] % len(_CLOSINGS)]])


# A bulk run sends the same line with every request.
@lru_cache(maxsize=256)
def _split_choices(line: str) -> tuple[str, ...]:
    parts = line.split("|") if "|" in line else line.rstrip(" .\t\r").split(",")
    return tuple(choice for part in parts if (choice := part.strip()))


@lru_cache(maxsize=1024)
def _choice_trigrams(choice: str) -> frozenset[str]:
    return _trigrams(_folded(choice))


def _folded(text: str) -> str:
    return f" {_NO_LETTERS.sub(' ', text.casefold()).strip()} "


def _trigrams(folded: str) -> frozenset[str]:
    return frozenset(folded[at : at + 3] for at in range(len(folded) - 2))
