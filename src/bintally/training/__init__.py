"""The only wing with torch: recipe, dataset and cache, network, losses, run, checkpoints, export."""
