"""The light markup languages: Markdown with front matter and MDX, reStructuredText, AsciiDoc.

Each module turns one of them into Markdown and into what the document says of itself. ``embedded_data`` is for all
formats. What an office program or a browser writes belongs to the folder above.
"""
