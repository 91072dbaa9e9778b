"""The web app: a chat in the browser over an Engine, served on this machine only."""
