"""What principals use and may use: the ledger of all calls of providers, limits, prices, reports."""

from shared.usage.ledger import Ledger
from shared.usage.limits import Standing
from shared.usage.prices import Prices
from shared.usage.reports import Reports, UsageQuery
from shared.usage.view import GroupBy, UsageRecord, UsageReport, UsageRow

__all__ = [
    "GroupBy",
    "Ledger",
    "Prices",
    "Reports",
    "Standing",
    "UsageQuery",
    "UsageRecord",
    "UsageReport",
    "UsageRow",
]
