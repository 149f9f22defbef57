"""What commands share: options in common, tables, progress, errors as one line."""
