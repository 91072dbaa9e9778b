"""`lean` of the demonstration: what a wheel carries as a shared library, with lean's own options.

The library exports the program's shell; this hands it arguments and prints what lean would.
"""

import ctypes
import os
import sys
from pathlib import Path

PREFIX = Path(__file__).resolve().parent.parent
LONG = {"--json": "-J", "--stdin": "-I", "--worker": "-W", "--version": "-v"}
STRING, OBJECT = ctypes.c_char_p, ctypes.c_void_p


class Runtime:
    """The few entry points of Lean's runtime that starting its shell takes."""

    def __init__(self, library: str):
        self.lib = ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
        for name in (
            "initialize_Lean_Shell",
            "lean_mk_string",
            "lean_alloc_object",
            "lean_init_search_path",
            "lean_shell_options_mk",
            "lean_shell_options_process",
            "lean_shell_main",
        ):
            getattr(self.lib, name).restype = OBJECT

    def boxed(self, number: int) -> int:
        return number << 1 | 1

    def string(self, text: str) -> int:
        return self.lib.lean_mk_string(STRING(os.fsencode(text)))

    def constructor(self, index: int, *fields: int) -> int:
        """An object of a constructor with these fields."""
        size = 8 + 8 * len(fields)
        made = self.lib.lean_alloc_object(ctypes.c_size_t(size))
        ctypes.c_int32.from_address(made).value = 1  # reference count
        ctypes.c_uint16.from_address(made + 4).value = size
        ctypes.c_uint8.from_address(made + 6).value = len(fields)
        ctypes.c_uint8.from_address(made + 7).value = index
        for number, field in enumerate(fields):
            OBJECT.from_address(made + 8 + 8 * number).value = field
        return made

    def taken(self, result: int) -> int:
        """The value of an IO action, or the end of this program with its error."""
        if ctypes.c_uint8.from_address(result + 7).value:
            first = OBJECT.from_address(result + 8).value or 1
            if first & 1:  # the shell asks to leave, with a number
                raise SystemExit(first >> 1)
            self.lib.lean_io_result_show_error(OBJECT(result))
            raise SystemExit(70)
        return OBJECT.from_address(result + 8).value or 1

    def main(self, arguments: list[str]) -> int:
        lib = self.lib
        lib.lean_initialize()
        self.taken(lib.initialize_Lean_Shell(ctypes.c_uint8(1)))
        lib.lean_enable_initializer_execution()
        lib.lean_init_task_manager()
        lib.lean_io_mark_end_initialization()
        self.taken(lib.lean_init_search_path())
        options = lib.lean_shell_options_mk(OBJECT(self.boxed(0)))
        while arguments and arguments[0].startswith("-"):
            word = arguments.pop(0)
            value = self.constructor(1, self.string(word[2:])) if word[2:] else self.boxed(0)
            letter = ctypes.c_uint32(ord(word[1]))
            done = lib.lean_shell_options_process(OBJECT(options), letter, OBJECT(value))
            options = self.taken(done)
        names = self.boxed(0)
        for name in reversed(arguments):
            names = self.constructor(1, self.string(name), names)
        code = self.taken(lib.lean_shell_main(OBJECT(names), OBJECT(options)))
        return code >> 1 if code & 1 else ctypes.c_uint32.from_address(code + 8).value


def main() -> None:
    arguments = [LONG.get(word, word) for word in sys.argv[1:]]
    if arguments == ["--print-prefix"]:
        sys.stdout.write(f"{PREFIX}\n")
        return
    if arguments == ["-v"]:
        sys.stdout.write("Lean (version 4.35.0, demonstration, Release)\n")
        return
    where = (PREFIX / "lib" / "lean.path").read_text().strip()
    path = [os.environ.get("LEAN_PATH", ""), str(PREFIX / "lib" / "lean")]
    os.environ["LEAN_PATH"] = os.pathsep.join(filter(None, path))
    code = Runtime(where).main(arguments)
    sys.stdout.flush()
    os._exit(code)  # the library's threads are still there


if __name__ == "__main__":
    main()
