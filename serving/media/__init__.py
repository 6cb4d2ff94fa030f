"""Pictures of a request: found in its messages, fetched safely, checked before any worker."""
