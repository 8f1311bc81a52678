"""Launches the page: `python app.py --help` lists the options."""

from core.runtime.console import run_command


def main() -> int:
    """Imports the page where an interrupt is told in a word."""
    from app.main import main as serve_page

    return serve_page()


if __name__ == "__main__":
    run_command(main)
