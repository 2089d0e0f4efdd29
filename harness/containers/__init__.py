"""Containers for tests: a container engine with its own storage, and images that stand for those of the registries."""
