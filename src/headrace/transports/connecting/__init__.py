"""Opening connections: addresses, proxies, TLS handshakes, timeouts, and local limits."""
