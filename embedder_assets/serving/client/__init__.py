"""Requests to one or several Tritons: sessions, batches, retries, out-of-memory, ejection of servers."""
