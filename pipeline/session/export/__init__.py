"""Recorded sessions in the formats of other tools: MCAP, Rerun, Parquet with ordinary media files."""
