"""Commands of `bluegreen`. Each module is one command, found through an entry point; the adapters have theirs."""
