"""What runs now and what has just ended: the table of the live view."""
