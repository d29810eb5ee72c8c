"""Decisions on their way out over a network: a queue, a thread, retries, and a spool on disk for what is not acknowledged yet."""
