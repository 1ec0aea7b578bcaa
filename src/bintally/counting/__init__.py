"""Bundle + photo -> CountEstimate: the only inference path, and how it is judged."""
