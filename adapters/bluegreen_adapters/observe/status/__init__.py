"""Status of the scopes of a host: as values, as tables, and as a command."""
