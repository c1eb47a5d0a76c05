"""The verbs of each noun, in SQL that every vendor understands."""
