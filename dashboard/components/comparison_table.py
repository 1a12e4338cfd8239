"""The comparison table and its findings: the same HTML as in an exported report."""

import streamlit as st

from engine.records.comparison import Comparison
from engine.report import html_report, tables
from engine.report.findings import Finding


def comparison_table(comparison: Comparison) -> None:
    """A table for each group of metrics, a row per configuration, protocols on hover."""
    st.html(f"<style>{tables.CSS}</style>{tables.to_html(comparison)}")


def show_findings(findings: list[Finding]) -> None:
    """What the table says, in sentences."""
    st.html(f"<style>{tables.CSS}</style>{html_report.findings_html(findings)}")
