"""headrace's engine and policies for other SDKs, as an HTTP client that they accept.

One module per HTTP library: `headrace.integrations.httpx` and `headrace.integrations.httpx2`. They have the
same names, and only the module of a library imports that library.
"""
