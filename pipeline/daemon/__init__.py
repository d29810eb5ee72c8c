"""The daemon: many sessions, asked for and watched while they run."""
