"""What the API says, without I/O: request bodies, answers, streams, schemas, tools, errors."""
