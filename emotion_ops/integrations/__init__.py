"""The table operator inside other people's tables and engines, each in a module of its own."""
