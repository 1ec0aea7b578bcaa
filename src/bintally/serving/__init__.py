"""The counting service: one `CountingService` behind every door (HTTP, MQTT, Lambda)."""
