"""Tables as JSON and SCXML, and tables made of machines of the library `transitions`."""
