"""A mail server for the tests: takes mail on loopback and writes each down as a line of JSON.

Arguments: the protection (none, starttls, tls), certificate and key (PEM), name and password that it asks for (may be empty).
The first line that it writes is its port.
"""

import asyncio
import json
import logging
import ssl
import sys
import warnings

from aiosmtpd.smtp import SMTP, AuthResult

# It warns of what these tests want: a password without protection.
logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")

tls, certificate, key, user, password = sys.argv[1:]


def say(what):
    print(json.dumps(what), flush=True)


class Handler:
    async def handle_DATA(self, server, session, envelope):
        say({
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "mail": envelope.content.decode(),
            "protected": session.ssl is not None or tls == "tls",
            "user": getattr(session, "login_name", None),
        })
        return "250 taken"


def authenticator(server, session, envelope, mechanism, data):
    good = (data.login.decode(), data.password.decode()) == (user, password)
    session.login_name = data.login.decode() if good else None
    # Not handled: the server says to the other side that it was not good.
    return AuthResult(success=good, handled=good)


async def main():
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
    options = {"hostname": "mail.test", "loop": asyncio.get_running_loop()}
    if user:
        options |= {"authenticator": authenticator, "auth_required": True, "auth_require_tls": tls == "starttls"}
    if tls == "starttls":
        options |= {"tls_context": context, "require_starttls": True}
    serve = asyncio.get_running_loop().create_server(
        lambda: SMTP(Handler(), **options), "127.0.0.1", 0, ssl=context if tls == "tls" else None
    )
    server = await serve
    say(server.sockets[0].getsockname()[1])
    await server.serve_forever()


asyncio.run(main())
