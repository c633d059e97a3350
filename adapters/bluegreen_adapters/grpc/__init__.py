"""gRPC channels and interceptors, for threads and asyncio, over `connection`. Needs the extra `grpc`."""
