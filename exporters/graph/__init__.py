"""The float model as a graph that all containers share, and its rewriting."""
