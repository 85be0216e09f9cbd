"""dpkg and apt of one file: what is there, what apt brought by itself, and which package needs which."""

import json
import sys

PLACE, PROGRAM, *WORDS = sys.argv[1:]


def main() -> None:
    with open(PLACE) as stream:  # noqa: PTH123 - it is started often, and imports little
        known = json.load(stream)
    if PROGRAM == "dpkg-query":
        if "--" in WORDS:
            for name in (n for n in WORDS[WORDS.index("--") + 1:] if n in known["there"]):
                print(f"{name}\tinstalled\t1.0")
        else:
            print("".join(f"installed\t{name}\n" for name in known["there"]), end="")
    elif PROGRAM == "apt-mark":
        print("\n".join(known["auto"]))
    else:
        going = set(WORDS[WORDS.index("purge") + 1:])
        going |= {other for name, other in known["needs"].items() if name in going}
        if "--simulate" in WORDS:
            print("".join(f"Purg {name} [1.0]\n" for name in sorted(going)), end="")
        else:
            known["there"] = [name for name in known["there"] if name not in going]
            with open(PLACE, "w") as stream:  # noqa: PTH123
                json.dump(known, stream)


main()
