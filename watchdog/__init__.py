"""budget-watchdog: stops runs on paid scraping platforms before they eat the budget."""

__version__ = "0.1.0"
