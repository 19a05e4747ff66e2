"""A report for people who do not program: one HTML file with everything in it, and nothing fetched.

`content` computes and decides what is said, `svg` draws what can be pointed at, `page` puts it together. Layout, looks
and the little that moves lie beside them in page.html, page.css and page.js.
"""

from __future__ import annotations

from goldpeak.reporting.content import Report, report

__all__ = ["Report", "report"]
