"""Big files of facts: read in blocks, checked line by line, loaded in parts; what can't go in is listed."""
