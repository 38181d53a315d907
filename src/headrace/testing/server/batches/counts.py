"""What the endpoint counts about files and batches."""

import attrs


@attrs.define
class RequestCounts:
    """What happened with the requests of one ``custom_id``, in all batches.

    Attributes:
        executed: How often such a request was executed, with any result.
        billed: How often it got an answer, which costs money.
    """

    executed: int = 0
    billed: int = 0


@attrs.define
class BatchCounts:
    """Counts about files and batches since the start of the endpoint.

    Attributes:
        requests: Number of HTTP requests for files and batches.
        by_status: Number of responses for each status, including those that were then cut or stalled.
        faults: Number of attempts for each fault.
        files: Number of uploaded files.
        batches: Number of created batches.
        executed: Number of requests of batches that were executed, with any result.
        billed: Number of those that got an answer.
        input_tokens: Tokens of the billed requests.
        output_tokens: Tokens of their answers.
    """

    requests: int = 0
    by_status: dict[int, int] = attrs.field(factory=dict)
    faults: dict[str, int] = attrs.field(factory=dict)
    files: int = 0
    batches: int = 0
    executed: int = 0
    billed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
