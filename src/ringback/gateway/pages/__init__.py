"""What the pages of the gateway are made from: templates and their style sheet."""
