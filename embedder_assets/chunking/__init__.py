"""From documents to the table ``chunks``: where a text is cut, and how long a chunk may be.

How formats are read belongs to ``corpus``; vectors belong to ``embedding``.
"""
