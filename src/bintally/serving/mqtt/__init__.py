"""The MQTT door: robots publish photos, answers come back on a topic. At least once each way, counted once."""
