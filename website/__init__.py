"""The documentation site: the repository's pages, and reference pages that are generated from the code."""
