"""How a picture is cut into views."""
