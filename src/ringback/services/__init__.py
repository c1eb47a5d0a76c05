"""The verbs: what doors, commands and library may ask for."""
