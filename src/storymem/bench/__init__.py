"""Measuring multi-shot films in one way, whoever made them: metrics, encoders, suites, systems, comparison, report."""
