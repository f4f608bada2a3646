"""Reading, checking, splitting and encoding data: knows neither training nor where it runs."""
