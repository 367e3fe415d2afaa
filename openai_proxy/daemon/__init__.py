"""The life of the daemon: what it is built from, serving, reload, drain, signals."""
