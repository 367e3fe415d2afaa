"""Batches: what their input files ask for, and which ones a key may run."""
