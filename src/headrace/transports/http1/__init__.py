"""HTTP/1.1: one request at a time over each connection."""
