"""What a campaign looks like: scalars, tables, pictures. Reads files alone."""
