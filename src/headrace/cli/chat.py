"""`headrace chat`: one question, its answer as it is made."""

from __future__ import annotations

import sys

import click

from headrace.cli import options
from headrace.cli.run import INTERRUPTED


@click.command(short_help="Ask one question, and read the answer as it is made.")
@click.argument("question", metavar="QUESTION")
@options.model
@options.base_url
@options.system
@options.parameters
@click.option("-q", "--quiet", is_flag=True, help="The answer alone, without what it took.")
def chat(
    question: str,
    model: str | None,
    base_url: str | None,
    system: str | None,
    parameters: tuple[str, ...],
    quiet: bool,
) -> None:
    """Ask QUESTION (- for stdin), and print the answer as it is made; what it took goes to stderr.

    \b
    Examples:
      headrace chat "What is a headrace?" --model deepseek-v3.2
      git diff | headrace chat - --system "Review this change." --param temperature=0
    """
    from headrace._support.text import printable
    from headrace.cli.session import on_event_loop
    from headrace.client import Client

    client = Client(base_url=base_url, model=model)
    messages = [{"role": "user", "content": sys.stdin.read() if question == "-" else question}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    values = options.parsed(parameters)

    async def ask() -> str:
        async with client, client.stream(messages, **values) as stream:
            async for piece in stream:
                # To a file or a pipe as it is; at a terminal it must not do more than be read.
                click.echo(printable(piece.text) if sys.stdout.isatty() else piece.text, nl=False)
            click.echo()
        reply = stream.reply
        took = [f"{reply.elapsed:.1f} s", f"first token after {reply.time_to_first_token or 0:.1f} s"]
        if reply.usage is not None:
            took.append(f"{reply.usage.prompt_tokens or 0:,} + {reply.usage.completion_tokens or 0:,} tokens")
        if reply.cost is not None:
            took.append(f"${reply.cost:.6f}")
        if reply.finish_reason == "length":
            took.append("cut off at the limit of tokens")
        return " · ".join(took)

    try:
        took = on_event_loop(ask)
    except KeyboardInterrupt:
        click.echo()
        sys.exit(INTERRUPTED)
    if not quiet:
        click.echo(took, err=True)
