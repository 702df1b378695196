"""Triton: the models it serves, the embedded server, and the client."""
