"""A run's report: one HTML file that opens anywhere, offline.

series        what the charts draw, as numbers
chart         one chart as plotly's JSON
latency       distributions, and latency against the rate
timeline      the run over time
engines       how many, how evenly loaded, from the server's own metrics
html_table    tables and lists as HTML
tables        the numbers, as HTML
page          all of it in one file, from page.html, style.css and charts.js
"""
