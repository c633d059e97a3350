"""Health and readiness of a scope, and the servers that publish them."""
