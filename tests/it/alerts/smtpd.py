"""A real mail server (aiosmtpd) that keeps what it is sent, one line of JSON each; it prints its port.

smtpd.py OUT clear|starttls|tls CERT KEY USER PASSWORD REFUSALS, at the address LISTEN; without a user nobody has to log in.
So many messages are refused for now before one is kept.
"""
import asyncio
import json
import os
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

out, mode, cert, key, user, password, refusals = sys.argv[1:]


class Keep:
    left = int(refusals)

    async def handle_DATA(self, server, session, envelope):
        if self.left > 0:
            self.left -= 1
            return "451 4.3.0 come back later"
        kept = {
            "peer": session.peer[0],
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "tls": session.ssl is not None or mode == "tls",
            "user": session.auth_data.login.decode() if session.authenticated else None,
            "content": envelope.content.decode(),
        }
        with open(out, "a") as file:
            file.write(json.dumps(kept) + "\n")
        return "250 2.0.0 kept"


def let_in(server, session, envelope, mechanism, data):
    good = data.login == user.encode() and data.password == password.encode()
    return AuthResult(success=good, handled=good, auth_data=data)


def serve():
    options = {"hostname": "mail.test"}
    if mode == "starttls":
        options |= {"tls_context": context, "require_starttls": True}
    if user:
        options |= {"authenticator": let_in, "auth_required": True, "auth_require_tls": mode == "starttls"}
    return SMTP(keep, **options)


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(serve, os.environ.get("LISTEN", "127.0.0.1"), 0, ssl=context if mode == "tls" else None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


context = None
if mode != "clear":
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
keep = Keep()
asyncio.run(main())
