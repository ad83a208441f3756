"""The Open Inference Protocol over gRPC: another way into the gateway, for the same endpoints. Needs the extra grpc."""
