"""`python -m peatio_ws`."""

from peatio_ws.cli import main

if __name__ == "__main__":
    main(prog_name="peatio_ws")
