"""Runs a plan: in one process (inline), or as processes that Ray places and heals and ZeroMQ joins."""
