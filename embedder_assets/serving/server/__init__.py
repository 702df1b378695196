"""The embedded Triton server: its process, its addresses, and who may reach it.

``embedded`` starts and advertises it, ``access`` has its address, certificates and secret, ``child_process`` and
``watchdog`` end it with its owner, and ``supervisor_lock`` says that ``embedder up`` restarts it. Requests belong to
``client``, and restarting a part of the stack to ``cli.supervise``. Others import all of it but ``watchdog``, which
is a script and uses the standard library only.
"""
