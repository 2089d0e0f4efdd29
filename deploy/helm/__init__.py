"""The Helm chart and its generator."""
