"""Answers to questions that are asked twice, as draft-ietf-httpapi-idempotency-key-header-07 wants it.

https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""
