"""Models, recordings and devices that tests share."""
