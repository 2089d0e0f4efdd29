"""The torture suite: fault injection, a record of what clients saw, and a checker that uses only that record."""
