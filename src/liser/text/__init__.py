"""Text from elsewhere, made harmless for a terminal, a page or a spreadsheet."""
