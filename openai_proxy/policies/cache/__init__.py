"""The cache of answers, and the calls that several clients share."""
