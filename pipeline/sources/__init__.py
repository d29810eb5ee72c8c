"""What yields events: media files, playlists, a synthetic scene, and faults put on any of them."""
