"""The onion: one stage per file, each a policy around `forward`."""
