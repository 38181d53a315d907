"""headrace's engine and policies offered to other SDKs, as an HTTP client that they take.

A module for each HTTP library: `headrace.integrations.httpx` and `headrace.integrations.httpx2`, the same but
for the library, which is imported by the module that is named after it and by no other.
"""
