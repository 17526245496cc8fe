"""Views of a campaign: figures, tables, pictures, pages. All of it is read from files."""
