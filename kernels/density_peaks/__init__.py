"""Where tokens crowd, and how far each is from a denser place: density peaks of DPC-KNN."""
