"""Training: labelled sessions, the same alignment that serves the model, segments, and the loop. Imports torch; nothing else imports it."""
