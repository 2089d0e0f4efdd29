"""Tests of the OpenAPI document with the programs of other projects: linters, and generators of clients.

`python -m tests.generators` installs the programs, in the versions of package.json and requirements.txt.
"""
