"""Reads and makes v4.public tokens with pyseto: `tokens.py verify PUBLIC` and `tokens.py sign SECRET`.

PUBLIC is written as exitpool writes it, `ed25519:<base64 of 32 bytes>`; SECRET is a file that has a PASERK of type k4.secret.
The first reads a token and writes its payload and footer as JSON; the second reads such JSON and writes a token.
"""

import base64
import json
import pathlib
import sys

import pyseto
from pyseto import Key


def verify(public: str, token: str) -> str:
    key = Key.from_asymmetric_key_params(4, x=base64.b64decode(public.removeprefix("ed25519:")))
    said = pyseto.decode(key, token)
    return json.dumps({"payload": json.loads(said.payload), "footer": json.loads(said.footer)})


def sign(secret: str, said: str) -> str:
    key = Key.from_paserk(pathlib.Path(secret).read_text().strip())
    said = json.loads(said)
    payload, footer = (json.dumps(said[part], separators=(",", ":")) for part in ("payload", "footer"))
    return pyseto.encode(key, payload, footer).decode()


act = {"verify": verify, "sign": sign}[sys.argv[1]]
try:
    print(act(sys.argv[2], sys.stdin.read().strip()))
except (pyseto.DecryptError, pyseto.VerifyError, ValueError) as error:
    sys.exit(f"not valid: {error}")
