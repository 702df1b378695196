"""Office formats and books: Word, OpenDocument, RTF, slides, spreadsheets, EPUB.

All but spreadsheets become HTML first, which ``html`` turns into Markdown, so that tables, marks and escapes are the
same as of a web page. ``package`` opens the archives, ``properties`` reads what files say of themselves. What a library
reads well is read by one: Word by mammoth, RTF and the equations of Word by xberg, spreadsheets by calamine.
"""
