"""Connected sockets and TLS over them, in callbacks."""
