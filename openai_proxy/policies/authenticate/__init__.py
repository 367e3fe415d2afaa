"""Who calls: pass-through, inject, tenants; credentials and keys."""
