"""URLs as input: which texts are URLs, how they are shown, and the file system of one."""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.request import url2pathname

from headrace._support.secret_masking import mask_url
from headrace._support.text import nearest, quoted
from headrace.errors import InputError
from headrace.transports.connecting.ssl_context import default_ssl_context

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?:://|::[A-Za-z])")
_URL_AS_PATH = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/[^/]")

_HTTP = ("http", "https")


def _http_options() -> dict[str, Any]:
    """Trust the certificates that calls trust, and use the proxy of the environment, as they do."""
    return {
        "client_kwargs": {"trust_env": True},
        "ssl": default_ssl_context(),
        "skip_instance_cache": True,  # it would keep the connections
    }


def is_url(path: str | os.PathLike[str]) -> bool:
    """Whether the input or output that a user named is a URL, also one chained by ``::``."""
    return isinstance(path, str) and _URL.match(path) is not None


def local_path(path: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """The path that a ``file://`` URL names; anything else is returned as it is."""
    if isinstance(path, str) and path.lower().startswith("file://"):
        return url2pathname(path[len("file://") :].removeprefix("localhost"))
    return path


def shown_name(path: str | os.PathLike[str]) -> str:
    """The name of an input for messages, without what may be a secret.

    Raises:
        InputError: It is a path that was made of a URL.
    """
    if is_url(path):
        return mask_url(str(path))
    if not isinstance(path, str) and _URL_AS_PATH.match(str(path)) and not os.path.exists(path):
        raise InputError(
            f"{mask_url(str(path).replace(':/', '://', 1))}: a Path cannot hold a URL; pass it as a string"
        )
    return str(path)


def open_file_system(url: str) -> tuple[Any, str]:
    """The file system of fsspec that a URL names, and the path in it.

    Raises:
        InputError: A package is not installed, or the protocol is unknown.
    """
    name = mask_url(url)
    try:
        import fsspec
    except ImportError:
        raise InputError(f"{name}: pip install 'headrace[remote]' to read it; it needs fsspec") from None
    options = {each: _http_options() for each in _HTTP if re.search(rf"(?:^|::){each}://", url)}
    try:
        found: tuple[Any, str] = fsspec.url_to_fs(url, **options)
    except ImportError as error:
        raise InputError(f"{name}: {_package_for(error)}") from None
    except ValueError as error:
        protocol = url.partition(":")[0]
        if protocol in fsspec.available_protocols():
            raise InputError(f"{name}: is not a valid URL: {type(error).__name__}") from None
        known = nearest(protocol, fsspec.available_protocols())
        raise InputError(f"{name}: fsspec knows no protocol {quoted(protocol)}; {known}") from None
    return found


def _package_for(error: ImportError) -> str:
    """What to install for a protocol whose package is missing."""
    cause = error.__cause__ if isinstance(error.__cause__, ImportError) else error
    package = (cause.name or "").partition(".")[0]
    if package == "aiohttp":
        return "pip install 'headrace[remote]' to read it; it needs aiohttp"
    if package:
        return f"pip install {package} to read it"
    return f"a package is missing: {' '.join(str(error).split())[:200]}"
