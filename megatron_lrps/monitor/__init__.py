"""A campaign for those who look at it: figures, tables, pictures, pages. All of it is read from files."""
