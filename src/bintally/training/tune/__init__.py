"""Many trainings to find a better one: hyperparameters (`tune`) and architectures within a time budget (`search`)."""
