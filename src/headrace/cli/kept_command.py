"""The command that began a run, as its sidecar keeps it for reports."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from headrace._support.lenient_json import without_surrogates
from headrace._support.secret_masking import mask_command

if TYPE_CHECKING:
    from headrace.client import Client


def kept_command(client: Client) -> str:
    """The command line of this process, without the keys of the client and without other secrets.

    Bytes that are not UTF-8, as a file name may have them, are U+FFFD.
    """
    arguments = ["headrace", *map(without_surrogates, sys.argv[1:])]
    for endpoint in client.endpoints:
        arguments = [endpoint.without_key(argument) for argument in arguments]
    return mask_command(arguments)
