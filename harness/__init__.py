"""The VA-RED2 harness: composes recognizers, methods, executors and results."""
