"""What was asked and answered, kept for whoever watches the model."""
