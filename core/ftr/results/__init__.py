"""What finished runs say: comparison, report, plan and reproduction."""
