"""What lies in the folder of a model, and how it gets there."""
