"""The onion: one folder for each policy, a stage around `forward` in each."""
