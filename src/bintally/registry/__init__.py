"""Versions of models, which of them serves, and why: registered, judged by gates, promoted, rolled back."""
