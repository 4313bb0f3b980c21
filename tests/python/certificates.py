"""Certificates, of 127.0.0.1 where no other names are given, for a day: made by openssl for one test run."""

import subprocess


def make(directory, names="IP:127.0.0.1"):
    """Puts an authority and what it vouches for into the directory: authority.crt, server.crt, server.key."""

    def certify(name, *words):
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key")
        command = ["openssl", "req", "-x509", *key, "-out", f"{name}.crt", "-subj", f"/CN={name}", "-days", "2"]
        subprocess.run([*command, *words], cwd=directory, check=True, capture_output=True)

    certify("authority")
    certify(
        "server", "-CA", "authority.crt", "-CAkey", "authority.key",
        "-addext", f"subjectAltName={names}", "-addext", "basicConstraints=critical,CA:FALSE",
    )
    return directory
