"""The page of `myqasr report`: charts drawn once, as SVG for the page and as PNG beside it."""
