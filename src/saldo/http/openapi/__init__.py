"""The OpenAPI document: parameters, bodies, patterns, errors."""
