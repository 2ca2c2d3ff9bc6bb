"""The styles: names that requests may use, and the versions that stand behind them."""
