"""The build of a release: wheel, source distribution, bill of materials, hashes and signature."""
