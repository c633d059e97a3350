"""Every interleaving of threads that use one manager, up to a bound."""
