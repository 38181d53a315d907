"""The server of the page: Starlette, for this machine's user only, and read-only unless buttons are on."""

from headrace_view.web.app import make_app
from headrace_view.web.guard import Guard, loopback_hosts
from headrace_view.web.steering import Change, LiveRuns, NoLiveRuns, RunGone

__all__ = ["Change", "Guard", "LiveRuns", "NoLiveRuns", "RunGone", "loopback_hosts", "make_app"]
