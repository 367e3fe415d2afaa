"""The `otel` observer: exchanges as OTLP traces and metrics."""
