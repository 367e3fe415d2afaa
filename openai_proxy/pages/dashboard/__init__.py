"""The dashboard: one page, its script and its style sheet, served as they are.

No build, and nothing from elsewhere. The script asks the pages under
`/admin`, as any program may.
"""
