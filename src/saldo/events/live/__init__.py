"""The live stream: one reader of the log in each process, and a bounded buffer for each subscriber."""
