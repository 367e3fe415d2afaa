"""The life of the daemon: construction, serving, reload, drain, signals."""
