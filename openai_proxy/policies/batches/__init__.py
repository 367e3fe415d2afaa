"""Batches: read what their input files ask for, and decide which batches a key may run."""
