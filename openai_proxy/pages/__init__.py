"""Pages of this proxy itself: service information, health, metrics, the operator's."""
