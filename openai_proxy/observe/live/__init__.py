"""What runs now and what has just ended: the table behind the live view."""
