"""Tests of the Python client: alone, against a fake, against a real service, and against one that is killed."""
