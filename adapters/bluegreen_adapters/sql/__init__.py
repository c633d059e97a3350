"""Whether a statement provably only reads: an allow-list over the syntax tree. Needs the extra `grpc`."""
