"""Models of the world around the machines: clusters, processes, stores, users."""
