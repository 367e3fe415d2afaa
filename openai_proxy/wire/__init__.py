"""Bytes, pure: header lines, targets, server-sent events, JSON members, content codings."""
