"""Requests to one Triton server or several, and what keeps them going while a server fails.

From the outside in: ``session`` is a run's access, ``batching`` fits requests to the server's memory, ``retrying``
repeats what failed for a moment, ``single_server`` and ``server_pool`` choose a server and recover it, with outlier
``ejection`` and the record of it in ``recovery``, and ``grpc`` sends. ``oom`` recognizes an answer for want of
memory, ``validation`` one that cannot be right, and ``memory`` reads what is in use. How a server is started belongs
to ``server``. Others import ``session``, ``memory``, and the types of requests and answers in ``grpc``.
"""
