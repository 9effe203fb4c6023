"""`python -m peatio_ws`."""

from peatio_ws.cli.main import main

if __name__ == "__main__":
    main(prog_name="peatio_ws")
