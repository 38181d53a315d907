"""The OpenAI API's formats, without I/O: request and reply bodies, streams, schemas, tools, errors."""
