"""NVIDIA Triton: the models it serves, the embedded server, and the client.

``models`` is the repository on disk, ``server`` the process, ``client`` the requests of a run, and ``backends`` what
runs inside Triton; ``verify`` and ``tune`` measure a model in a server. What a stage does with an answer belongs to
``embedding`` and ``retrieval``, and nothing here knows tables or Dagster. Others import
``client.session.TritonSession``, ``verify``, ``tune``, ``cpu``, and what the docstrings of the three packages name.
"""
