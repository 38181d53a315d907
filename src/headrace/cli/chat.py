"""`headrace chat`: asks one question and streams the answer."""

from __future__ import annotations

import sys

import click

from headrace.cli import options
from headrace.cli.run import INTERRUPTED


@click.command(short_help="Ask one question and stream the answer.")
@click.argument("question", metavar="QUESTION")
@options.model
@options.base_url
@options.system
@options.parameters
@click.option("-q", "--quiet", is_flag=True, help="Print only the answer, not its time and cost.")
def chat(
    question: str,
    model: str | None,
    base_url: str | None,
    system: str | None,
    parameters: tuple[str, ...],
    quiet: bool,
) -> None:
    """Ask QUESTION (- for stdin) and print the answer while it is generated.

    Time, tokens and cost go to stderr.

    \b
    Examples:
      headrace chat "What is a headrace?" --model deepseek-v3.2
      git diff | headrace chat - --system "Review this change." --param temperature=0
    """
    from headrace._support.text import printable
    from headrace._support.units import format_duration
    from headrace.cli.terminal_run import run_async
    from headrace.client import Client
    from headrace.wire.parameters import OWN_KEYWORDS

    values = options.parsed(parameters, OWN_KEYWORDS)
    client = Client(base_url=base_url, model=model)
    options.require_model(client)
    messages = [{"role": "user", "content": sys.stdin.read() if question == "-" else question}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})

    async def ask() -> str:
        async with client, client.stream(messages, **values) as stream:
            async for piece in stream:
                # At a terminal, control characters of an answer must not take effect.
                click.echo(printable(piece.text) if sys.stdout.isatty() else piece.text, nl=False)
            click.echo()
        reply = stream.reply
        details = [format_duration(reply.elapsed)]
        if reply.time_to_first_token is not None:
            details.append(f"first token after {format_duration(reply.time_to_first_token)}")
        if reply.usage is not None:
            details.append(
                f"{reply.usage.prompt_tokens or 0:,} + {reply.usage.completion_tokens or 0:,} tokens"
            )
        if reply.cost is not None:
            details.append(f"${reply.cost:.6f}")
        if reply.finish_reason == "length":
            details.append("cut off at max_tokens")
        return " · ".join(details)

    try:
        details = run_async(ask)
    except KeyboardInterrupt:
        click.echo()
        sys.exit(INTERRUPTED)
    if not quiet:
        click.echo(details, err=True)
