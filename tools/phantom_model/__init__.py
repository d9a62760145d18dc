"""Training and measurement of the phantom's networks; see README.md beside this file."""
