"""The embedded Triton: its process, its addresses and who may reach it."""
