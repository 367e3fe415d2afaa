"""The dashboard: one page, its script and its style sheet, served as files.

There is no build step, and nothing is loaded from elsewhere. The script reads
the pages under `/admin`, as any program may.
"""
