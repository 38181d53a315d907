"""``headrace view``: a page about one or many runs, live while they go."""

from __future__ import annotations

import click


@click.command(short_help="Show a live page about runs.")
@click.argument("outputs", metavar="OUT.jsonl|FOLDER…", nargs=-1, required=True, type=click.Path())
@click.option("--host", default=None, help="Address to listen at; default: 127.0.0.1, this machine only.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port; default: any free one.")
@click.option("--no-open", is_flag=True, help="Print the URL, and open no browser.")
@click.option("--no-content", is_flag=True, help="Show neither prompts nor answers.")
@click.option("--control", is_flag=True, help="Show buttons that pause, change or stop a live run.")
def view(
    outputs: tuple[str, ...], host: str | None, port: int, no_open: bool, no_content: bool, control: bool
) -> None:
    """Show a page about the runs with these outputs, or with the outputs in a folder, until Ctrl-C: figures
    and charts over time, and all rows to search and filter. It is live while a run goes.

    Only the outputs are read; an index is kept beside them, in a hidden folder that can be deleted.

    \b
    Example:
      headrace view answers.jsonl
    """
    import secrets
    import webbrowser

    from headrace_view.live_runs import SocketRuns
    from headrace_view.runs import Runs
    from headrace_view.server import bind, is_loopback, serve
    from headrace_view.web import Guard, loopback_hosts, make_app

    address = host or "127.0.0.1"
    runs = Runs(outputs)
    bound = bind(address, port)
    token = secrets.token_urlsafe(24)
    shown = f"[{address}]" if ":" in address else address
    url = f"http://{shown}:{bound.getsockname()[1]}/{token}/"
    app = make_app(runs, content=not no_content, live=SocketRuns(), control=control)

    def announce() -> None:
        click.echo(f"{url}\nOnly who has this URL can open the page. Ctrl-C ends it.")
        if not is_loopback(bound.getsockname()[0]):
            click.echo(f"Warning: the page is sent over the network as plain text ({address}).", err=True)
        if not no_open:
            webbrowser.open(url)

    try:
        serve(Guard(app, token, loopback_hosts(address)), runs, bound, announce)
    finally:
        bound.close()
        runs.close()
