"""What ails a training before it starts: its data, its labels, its learning rate, its batch size."""
