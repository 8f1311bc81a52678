"""Launches the page: `python app.py --help` lists the options."""

from app.main import main
from core.console import run_command

if __name__ == "__main__":
    run_command(main)
