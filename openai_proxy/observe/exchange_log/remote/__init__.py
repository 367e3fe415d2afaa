"""Exchange logs that go to a remote store: spool, batches, delivery."""
