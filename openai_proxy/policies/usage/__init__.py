"""The usage of answers, and the estimate of it before they come."""
