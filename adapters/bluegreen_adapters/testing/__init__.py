"""Tools to test connectors with: a server with two stacks, a demonstration, a soak test. Needs the extra `testing`."""
