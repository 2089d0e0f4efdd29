"""The commands about seals and the key that signs heads."""
