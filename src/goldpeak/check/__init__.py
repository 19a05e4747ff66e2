"""Whether what goldpeak says can be believed: calibration, backtests, criticism."""
