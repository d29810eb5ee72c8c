"""Recorded sessions: write them, read them, mend them, replay them. docs/sessions.md describes the files."""
