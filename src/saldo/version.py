"""The version of Saldo, defined in this module only."""

VERSION = "0.1.0"
