"""Deployment files of Saldo."""
